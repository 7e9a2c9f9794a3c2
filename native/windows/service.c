#include "service.h"

#include <aclapi.h>
#include <sddl.h>
#include <stdbool.h>

// ---- what an administrator does ---------------------------------------------------------------------------------------

// Fails where we may not even ask.
static bool is_administrators(HANDLE object) {
  PSID owner;
  PSECURITY_DESCRIPTOR descriptor;
  if (GetSecurityInfo(object, SE_KERNEL_OBJECT, OWNER_SECURITY_INFORMATION, &owner, NULL, NULL, NULL, &descriptor) !=
      ERROR_SUCCESS)
    return false;
  bool is = IsWellKnownSid(owner, WinBuiltinAdministratorsSid) || IsWellKnownSid(owner, WinLocalSystemSid);
  LocalFree(descriptor);
  return is;
}

DWORD service_lock(void) {
  SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes};
  if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(L"O:BAD:P(A;;GA;;;SY)(A;;GA;;;BA)", SDDL_REVISION_1,
                                                            &attributes.lpSecurityDescriptor, NULL))
    return GetLastError();
  HANDLE mutex = CreateMutexW(&attributes, FALSE, L"Global\\rcap-agent-service");
  DWORD error = GetLastError(); // also when there is a handle
  LocalFree(attributes.lpSecurityDescriptor);
  if (!mutex || error != ERROR_ALREADY_EXISTS) return mutex ? 0 : error;
  if (!is_administrators(mutex)) error = ERROR_INVALID_OWNER;
  CloseHandle(mutex);
  return error;
}

DWORD service_permitted(void) {
  SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CREATE_SERVICE);
  if (!manager) return GetLastError();
  CloseServiceHandle(manager);
  return 0;
}

DWORD service_create(const wchar_t *name, const wchar_t *command) {
  SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CREATE_SERVICE);
  if (!manager) return GetLastError();
  SC_HANDLE service = CreateServiceW(manager, name, name, SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START,
                                     SERVICE_ERROR_NORMAL, command, NULL, NULL, NULL, NULL, NULL);
  DWORD error = service ? 0 : GetLastError();
  if (service) CloseServiceHandle(service);
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

// Each as far as this Windows knows it: an older one, or one that stands in for it, still runs the service.
DWORD service_configure(const wchar_t *name, const wchar_t *description, DWORD end_ms) {
  SC_HANDLE service;
  DWORD error = open_service(name, SERVICE_CHANGE_CONFIG | SERVICE_START, &service);
  if (error) return error;
  SERVICE_DESCRIPTIONW text = {(wchar_t *)description};
  ChangeServiceConfig2W(service, SERVICE_CONFIG_DESCRIPTION, &text);
  SC_ACTION again = {SC_ACTION_RESTART, 5000};
  SERVICE_FAILURE_ACTIONSW actions = {.dwResetPeriod = INFINITE, .cActions = 1, .lpsaActions = &again};
  ChangeServiceConfig2W(service, SERVICE_CONFIG_FAILURE_ACTIONS, &actions);
  SERVICE_DELAYED_AUTO_START_INFO delayed = {TRUE};
  ChangeServiceConfig2W(service, SERVICE_CONFIG_DELAYED_AUTO_START_INFO, &delayed);
  // Else 10 s (before Windows 10 1703: 3 minutes).
  SERVICE_PRESHUTDOWN_INFO end = {end_ms};
  ChangeServiceConfig2W(service, SERVICE_CONFIG_PRESHUTDOWN_INFO, &end);
  // All others leave its token: files and devices are opened by what LocalSystem is, not by privileges.
  SERVICE_REQUIRED_PRIVILEGES_INFOW privileges = {(wchar_t *)SE_CHANGE_NOTIFY_NAME L"\0"};
  ChangeServiceConfig2W(service, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &privileges);
  CloseServiceHandle(service);
  return 0;
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
  bool own_code = status.dwWin32ExitCode == ERROR_SERVICE_SPECIFIC_ERROR;
  state->exit_code = own_code ? status.dwServiceSpecificExitCode : status.dwWin32ExitCode;
  lstrcpynW(state->command, answer.config.lpBinaryPathName, sizeof state->command / sizeof *state->command);
  return TRUE;
}
DWORD service_query(const wchar_t *name, ServiceState *state) {
  SC_HANDLE service;
  DWORD error = open_service(name, SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG, &service);
  return error ? error : close_service(service, query(service, state));
}

DWORD service_programs(wchar_t *path, DWORD size) {
  return (DWORD)RegGetValueW(HKEY_LOCAL_MACHINE, L"SOFTWARE\\Microsoft\\Windows\\CurrentVersion", L"ProgramFilesDir",
                             RRF_RT_REG_SZ, NULL, path, &size);
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
  HANDLE stopped;
  SRWLOCK reports; // zero is unlocked
  DWORD checkpoint;
  bool ended;
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
  AcquireSRWLockExclusive(&own.reports);
  // The manager may say stop while JavaScript ends by itself; nothing comes after the end.
  if (!own.ended) {
    if (state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING) status.dwCheckPoint = ++own.checkpoint;
    own.ended = state == SERVICE_STOPPED;
    if (own.handle) SetServiceStatus(own.handle, &status);
  }
  ReleaseSRWLockExclusive(&own.reports);
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
