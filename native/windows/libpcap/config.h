// libpcap's configuration for mingw. The build says PACKAGE_VERSION.
#define INET6 1
#define HAVE_STRTOK_R 1
