#include "status.h"

#include <pcap/pcap.h>
#include <string.h>

bool fail_to_activate(Failure *failure, const char *interface, int status, const char *words) {
  Code code = CODE_FAILED;
  const char *reason = pcap_statustostr(status);
  switch (status) {
  case PCAP_ERROR_NO_SUCH_DEVICE:
    return fail(failure, CODE_NO_SUCH_INTERFACE, "could not capture on '%s': no such interface", interface);
  case PCAP_ERROR_IFACE_NOT_UP:
    return fail(failure, CODE_INTERFACE_DOWN, "could not capture on '%s': the interface is not up", interface);
  case PCAP_ERROR_PERM_DENIED:
  case PCAP_ERROR_PROMISC_PERM_DENIED:
    code = CODE_PERMISSION;
    reason = "not permitted";
    break;
  case PCAP_ERROR_CAPTURE_NOTSUP:
  case PCAP_ERROR_RFMON_NOTSUP:
  case PCAP_ERROR_TSTAMP_PRECISION_NOTSUP: code = CODE_UNSUPPORTED; break;
  case PCAP_ERROR: reason = words; break;
  }
  if (reason == words || !words[0]) return fail(failure, code, "could not capture on '%s': %s", interface, reason);
  return fail(failure, code, "could not capture on '%s': %s (%s)", interface, reason, words);
}

bool fail_to_read(Failure *failure, const char *interface, const char *words) {
  static const char *const gone[] = {"disappeared", "went down", "Network is down", "No such device"};
  Code code = CODE_FAILED;
  for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
    if (strstr(words, gone[i])) code = CODE_INTERFACE_GONE;
  return fail(failure, code, "could not go on capturing on '%s': %s", interface, words);
}
