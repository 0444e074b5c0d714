/* SPDX-License-Identifier: MIT */

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define CURL_LIBRARY_ITSELF
#include "common/curl_library.h"

#define FILE_NAME "libcurl.so.4" /* its ABI since 2006 */

CurlLibrary curl_library;

static bool find(void *handle, const char *name, void *ret_function, char *ret_why, size_t size) {
        void *function = dlsym(handle, name);

        if (!function) {
                (void)snprintf(ret_why, size, "%s has no %s: it is too old", FILE_NAME, name);
                return false;
        }
        memcpy(ret_function, &function, sizeof(function)); /* what POSIX promises of dlsym(3), C has no cast for */
        return true;
}

bool curl_library_load(char *ret_why, size_t size) {
        static bool is_loaded;
        CurlLibrary found;
        void *handle;

        if (is_loaded)
                return true;

        handle = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL);
        if (!handle) {
                (void)snprintf(ret_why, size,
                        "tracing.otlp_endpoint: spans are sent through libcurl, which can't be loaded (%s); Debian's "
                        "package is libcurl4, or libcurl4t64",
                        dlerror());
                return false;
        }
#define X(name)                                                 \
        if (!find(handle, #name, &found.name, ret_why, size)) { \
                (void)dlclose(handle);                          \
                return false;                                   \
        }
        CURL_FUNCTIONS(X)
#undef X

        /* Never unloaded: what it has started in its own libraries would lose its code. */
        curl_library = found;
        is_loaded = true;
        return true;
}
