// What only Windows has the others don't.
#include "addon.h"

void addon_system(napi_env env, napi_value exports) { (void)env, (void)exports; }
