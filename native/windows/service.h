// Services, through Windows' service control manager. Functions return a Windows error code, 0 when it worked.
#ifndef RCAP_SERVICE_H
#define RCAP_SERVICE_H

#include <windows.h>

typedef struct ServiceState {
  DWORD state; // SERVICE_RUNNING and so on
  DWORD process;
  DWORD exit_code;       // the service's own, or Windows'
  wchar_t command[4096]; // what is started, with its arguments
} ServiceState;

// One process at a time changes services: ERROR_ALREADY_EXISTS while another does. Held until this process ends. Needs an
// administrator's rights; ERROR_INVALID_OWNER or ERROR_ACCESS_DENIED: who made the lock had none.
DWORD service_lock(void);
// Whether this user may install services.
DWORD service_permitted(void);
// A service that starts with the system, as LocalSystem. `command` is quoted already.
DWORD service_create(const wchar_t *name, const wchar_t *command);
// What is said of it; again when it fails; how long the system's end waits for it; no privileges.
DWORD service_configure(const wchar_t *name, const wchar_t *description, DWORD end_ms);
DWORD service_remove(const wchar_t *name);
// Both return before it is done.
DWORD service_start(const wchar_t *name);
DWORD service_stop(const wchar_t *name);
DWORD service_query(const wchar_t *name, ServiceState *state);
// The folder of programs: from the registry, since whoever starts us chooses the environment. `size` in bytes.
DWORD service_programs(wchar_t *path, DWORD size);
// Makes a folder that only administrators and the system may look into; one that is there already becomes so.
DWORD service_private_folder(const wchar_t *path);

typedef enum ServiceEvent { SERVICE_EVENT_START, SERVICE_EVENT_STOP, SERVICE_EVENT_FAILED } ServiceEvent;
// Turns this process into the service that the manager has started. `happened` is called on other threads: START once, STOP
// when it is to end, FAILED with an error code when no manager started it. Once for each process.
DWORD service_run(const wchar_t *name, void (*happened)(ServiceEvent event, DWORD error));
// Tells the manager. `exit_code`: 0, or a code of our own, of a service that has stopped; `wait_ms`: how long a pending state
// may last.
void service_report(DWORD state, DWORD exit_code, DWORD wait_ms);

#endif
