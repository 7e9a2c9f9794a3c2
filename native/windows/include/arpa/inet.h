// All of it is in one header on Windows.
#include <ws2tcpip.h>
