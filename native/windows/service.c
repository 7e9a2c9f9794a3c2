#include "service.h"

#include <aclapi.h>
#include <sddl.h>

// ---- what an administrator does ---------------------------------------------------------------------------------------

DWORD service_lock(void) {
  HANDLE mutex = CreateMutexW(NULL, FALSE, L"Global\\rcap-agent-service");
  DWORD error = GetLastError(); // also when there is a handle
  if (mutex && error == ERROR_ALREADY_EXISTS) CloseHandle(mutex);
  return error;
}

DWORD service_permitted(void) {
  SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CREATE_SERVICE);
  if (!manager) return GetLastError();
  CloseServiceHandle(manager);
  return 0;
}

// What isn't vital: an older or a stand-in Windows that doesn't know one of these still runs the service.
static void configure(SC_HANDLE service, const wchar_t *description) {
  SERVICE_DESCRIPTIONW text = {(wchar_t *)description};
  ChangeServiceConfig2W(service, SERVICE_CONFIG_DESCRIPTION, &text);
  SC_ACTION again = {SC_ACTION_RESTART, 5000};
  SERVICE_FAILURE_ACTIONSW actions = {.dwResetPeriod = INFINITE, .cActions = 1, .lpsaActions = &again};
  ChangeServiceConfig2W(service, SERVICE_CONFIG_FAILURE_ACTIONS, &actions);
  SERVICE_DELAYED_AUTO_START_INFO delayed = {TRUE};
  ChangeServiceConfig2W(service, SERVICE_CONFIG_DELAYED_AUTO_START_INFO, &delayed);
}

DWORD service_create(const wchar_t *name, const wchar_t *description, const wchar_t *command) {
  SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CREATE_SERVICE);
  if (!manager) return GetLastError();
  SC_HANDLE service = CreateServiceW(manager, name, name, SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START,
                                     SERVICE_ERROR_NORMAL, command, NULL, NULL, NULL, NULL, NULL);
  DWORD error = service ? 0 : GetLastError();
  if (service) {
    configure(service, description);
    CloseServiceHandle(service);
  }
  CloseServiceHandle(manager);
  return error;
}

static DWORD open_service(const wchar_t *name, DWORD access, SC_HANDLE *service) {
  SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
  if (!manager) return GetLastError();
  *service = OpenServiceW(manager, name, access);
  DWORD error = *service ? 0 : GetLastError();
  CloseServiceHandle(manager);
  return error;
}
static DWORD close_service(SC_HANDLE service, BOOL worked) {
  DWORD error = worked ? 0 : GetLastError();
  CloseServiceHandle(service);
  return error;
}

DWORD service_remove(const wchar_t *name) {
  SC_HANDLE service;
  DWORD error = open_service(name, DELETE, &service);
  return error ? error : close_service(service, DeleteService(service));
}
DWORD service_start(const wchar_t *name) {
  SC_HANDLE service;
  DWORD error = open_service(name, SERVICE_START, &service);
  return error ? error : close_service(service, StartServiceW(service, 0, NULL));
}
DWORD service_stop(const wchar_t *name) {
  SC_HANDLE service;
  SERVICE_STATUS status;
  DWORD error = open_service(name, SERVICE_STOP, &service);
  return error ? error : close_service(service, ControlService(service, SERVICE_CONTROL_STOP, &status));
}

static BOOL query(SC_HANDLE service, ServiceState *state) {
  SERVICE_STATUS_PROCESS status;
  DWORD needed;
  if (!QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&status, sizeof status, &needed)) return FALSE;
  // 8 KiB is the most that this call ever needs.
  union {
    QUERY_SERVICE_CONFIGW config;
    BYTE bytes[8192];
  } answer;
  if (!QueryServiceConfigW(service, &answer.config, sizeof answer, &needed)) return FALSE;
  state->state = status.dwCurrentState;
  state->process = status.dwProcessId;
  state->exit_code = status.dwWin32ExitCode;
  lstrcpynW(state->command, answer.config.lpBinaryPathName, sizeof state->command / sizeof *state->command);
  return TRUE;
}
DWORD service_query(const wchar_t *name, ServiceState *state) {
  SC_HANDLE service;
  DWORD error = open_service(name, SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG, &service);
  return error ? error : close_service(service, query(service, state));
}

DWORD service_private_folder(const wchar_t *path) {
  // Nothing is inherited; owner, system and administrators have all rights, in all that is made in it, too.
  static const wchar_t *const rights = L"O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
  SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes};
  if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(rights, SDDL_REVISION_1, &attributes.lpSecurityDescriptor, NULL))
    return GetLastError();
  DWORD error = CreateDirectoryW(path, &attributes) ? 0 : GetLastError();
  if (error == ERROR_ALREADY_EXISTS)
    error = SetFileSecurityW(path, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                             attributes.lpSecurityDescriptor)
                ? 0
                : GetLastError();
  LocalFree(attributes.lpSecurityDescriptor);
  return error;
}

// ---- what the service itself does -------------------------------------------------------------------------------------

static struct {
  wchar_t name[256]; // the longest that the manager takes
  void (*happened)(ServiceEvent event, DWORD error);
  SERVICE_STATUS_HANDLE handle;
  DWORD checkpoint;
  HANDLE stopped;
} own;

void service_report(DWORD state, DWORD exit_code, DWORD wait_ms) {
  SERVICE_STATUS status = {
      .dwServiceType = SERVICE_WIN32_OWN_PROCESS,
      .dwCurrentState = state,
      // Before the system's end, when there is still time to deliver what is captured.
      .dwControlsAccepted = state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN : 0,
      .dwWin32ExitCode = exit_code ? ERROR_SERVICE_SPECIFIC_ERROR : NO_ERROR,
      .dwServiceSpecificExitCode = exit_code,
      .dwWaitHint = wait_ms,
  };
  if (state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING) status.dwCheckPoint = ++own.checkpoint;
  if (own.handle) SetServiceStatus(own.handle, &status);
  if (state == SERVICE_STOPPED && own.stopped) SetEvent(own.stopped);
}

static DWORD WINAPI handle_control(DWORD control, DWORD type, void *data, void *context) {
  (void)type, (void)data, (void)context;
  switch (control) {
  case SERVICE_CONTROL_STOP:
  case SERVICE_CONTROL_PRESHUTDOWN:
    service_report(SERVICE_STOP_PENDING, 0, 10000);
    own.happened(SERVICE_EVENT_STOP, 0);
    return NO_ERROR;
  case SERVICE_CONTROL_INTERROGATE: return NO_ERROR;
  default: return ERROR_CALL_NOT_IMPLEMENTED;
  }
}

static void WINAPI service_main(DWORD count, wchar_t **arguments) {
  (void)count, (void)arguments;
  own.handle = RegisterServiceCtrlHandlerExW(own.name, handle_control, NULL);
  service_report(SERVICE_START_PENDING, 0, 30000);
  own.happened(SERVICE_EVENT_START, 0);
  // The manager takes the service for ended when this returns.
  WaitForSingleObject(own.stopped, INFINITE);
}

static DWORD WINAPI dispatch(void *unused) {
  (void)unused;
  SERVICE_TABLE_ENTRYW table[] = {{own.name, service_main}, {NULL, NULL}};
  if (!StartServiceCtrlDispatcherW(table)) own.happened(SERVICE_EVENT_FAILED, GetLastError());
  return 0;
}

DWORD service_run(const wchar_t *name, void (*happened)(ServiceEvent event, DWORD error)) {
  if (own.happened) return ERROR_SERVICE_ALREADY_RUNNING;
  lstrcpynW(own.name, name, sizeof own.name / sizeof *own.name);
  own.happened = happened;
  own.stopped = CreateEventW(NULL, TRUE, FALSE, NULL);
  HANDLE thread = own.stopped ? CreateThread(NULL, 0, dispatch, NULL, 0, NULL) : NULL;
  if (!thread) return GetLastError();
  CloseHandle(thread);
  return 0;
}
