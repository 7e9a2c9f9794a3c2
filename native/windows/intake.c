#include "intake.h"

#include "adapters.h"
#include "capture.h"
#include "status.h"

// capture.c starts every handle so.
void intake_hold(pcap_t *handle) { (void)handle; }

bool intake_set_filter(Intake *intake, pcap_t *handle, struct bpf_program *program) {
  (void)intake;
  return pcap_setfilter(handle, program) == 0;
}

// What Windows or the network card had no room for; 0 where it can't be known.
static uint64_t interface_drops(const char *interface) {
  MIB_IF_ROW2 row = {0};
  if (!adapters_luid(interface, &row.InterfaceLuid)) return 0;
  return GetIfEntry2(&row) == NO_ERROR ? row.InDiscards : 0;
}

bool intake_start(Intake *intake, pcap_t *handle, const char *interface, Failure *failure) {
  *intake = (Intake){.handle = handle, .interface = interface, .last_interface_drops = interface_drops(interface)};
  return capture_start(handle) || fail_to_activate(failure, interface, PCAP_ERROR, pcap_geterr(handle));
}

void intake_stop(Intake *intake) { capture_stop(intake->handle); }

void intake_count(Intake *intake) {
  capture_count(intake->handle, &intake->received, &intake->dropped_by_kernel);
}

void intake_count_interface(Intake *intake) {
  uint64_t drops = interface_drops(intake->interface);
  if (drops > intake->last_interface_drops) intake->dropped_by_interface += drops - intake->last_interface_drops;
  intake->last_interface_drops = drops;
}
