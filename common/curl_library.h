/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * CurlLibrary: libcurl, loaded when somebody wants to export traces and not before.
 *
 * Debian's libcurl brings thirty libraries along (TLS a second time, Kerberos, LDAP), which cost each process four
 * megabytes of memory and a tenth of its start, whether it sends anything or not. So it is no library that the program
 * is linked with; its functions are called by their own names, through pointers of their own types.
 */

#define CURL_DISABLE_TYPECHECK /* the checks are macros by the functions' names, as ours are */
#include <curl/curl.h>

#include "proto/cc.h"

#define CURL_FUNCTIONS(X)           \
        X(curl_easy_cleanup)        \
        X(curl_easy_getinfo)        \
        X(curl_easy_init)           \
        X(curl_easy_setopt)         \
        X(curl_easy_strerror)       \
        X(curl_free)                \
        X(curl_global_init)         \
        X(curl_multi_add_handle)    \
        X(curl_multi_cleanup)       \
        X(curl_multi_info_read)     \
        X(curl_multi_init)          \
        X(curl_multi_perform)       \
        X(curl_multi_poll)          \
        X(curl_multi_remove_handle) \
        X(curl_multi_wakeup)        \
        X(curl_slist_append)        \
        X(curl_slist_free_all)      \
        X(curl_url)                 \
        X(curl_url_cleanup)         \
        X(curl_url_get)             \
        X(curl_url_set)

typedef struct CurlLibrary {
#define X(name) __typeof__(&name) name;
        CURL_FUNCTIONS(X)
#undef X
} CurlLibrary;

extern CurlLibrary curl_library;

/* Before any other call. Loads it once, for good. Returns true, or false with the reason, and what to install. Not from
 * several threads at once. */
bool curl_library_load(char *ret_why, size_t size);

#ifndef CURL_LIBRARY_ITSELF
#undef curl_easy_getinfo
#undef curl_easy_setopt
#define curl_easy_cleanup curl_library.curl_easy_cleanup
#define curl_easy_getinfo curl_library.curl_easy_getinfo
#define curl_easy_init curl_library.curl_easy_init
#define curl_easy_setopt curl_library.curl_easy_setopt
#define curl_easy_strerror curl_library.curl_easy_strerror
#define curl_free curl_library.curl_free
#define curl_global_init curl_library.curl_global_init
#define curl_multi_add_handle curl_library.curl_multi_add_handle
#define curl_multi_cleanup curl_library.curl_multi_cleanup
#define curl_multi_info_read curl_library.curl_multi_info_read
#define curl_multi_init curl_library.curl_multi_init
#define curl_multi_perform curl_library.curl_multi_perform
#define curl_multi_poll curl_library.curl_multi_poll
#define curl_multi_remove_handle curl_library.curl_multi_remove_handle
#define curl_multi_wakeup curl_library.curl_multi_wakeup
#define curl_slist_append curl_library.curl_slist_append
#define curl_slist_free_all curl_library.curl_slist_free_all
#define curl_url curl_library.curl_url
#define curl_url_cleanup curl_library.curl_url_cleanup
#define curl_url_get curl_library.curl_url_get
#define curl_url_set curl_library.curl_url_set
#endif
