// Windows: Npcap's driver asks for rights when an interface is opened, and a token that is given up on the way would take
// the named pipes and files of the process along. Nothing is given up here; what an administrator starts stays one.
#include "privileges.h"

#include <stddef.h>

bool privileges_read(Privileges *privileges) {
  (void)privileges;
  return false;
}

// Nothing dumps a process unless Windows Error Reporting is told to, by an administrator.
void privileges_forbid_dumps(void) {}

const char *privileges_drop(bool keep_user) {
  (void)keep_user;
  return NULL;
}
