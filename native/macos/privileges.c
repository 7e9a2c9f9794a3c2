// macOS has no capabilities: who may open /dev/bpf* is a matter of its mode, and an open descriptor stays usable. The user
// stays who it is; core dumps are off.
#include "privileges.h"

#include <stddef.h>
#include <sys/resource.h>

bool privileges_read(Privileges *privileges) {
  (void)privileges;
  return false;
}

void privileges_forbid_dumps(void) { setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); }

const char *privileges_drop(bool keep_user) {
  (void)keep_user;
  return NULL;
}
