/* SPDX-License-Identifier: MIT */

#include "proto/error_code.h"

typedef struct ErrorCodeRow {
        unsigned number;
        const char *meaning;
} ErrorCodeRow;

const char *const error_code_names[_ERROR_CODE_MAX + 1] = { [ERROR_NONE] = "",
#define X(name, number, meaning) [ERROR_##name] = #name,
        ERROR_CODES(X)
#undef X
};

static const ErrorCodeRow rows[_ERROR_CODE_MAX] = {
#define X(name, number, meaning) [ERROR_##name] = { number, meaning },
        ERROR_CODES(X)
#undef X
};

const char *error_code_name(ErrorCode code) {
        assert(code < _ERROR_CODE_MAX);
        return code == ERROR_NONE ? NULL : error_code_names[code];
}

unsigned error_code_number(ErrorCode code) {
        assert(code < _ERROR_CODE_MAX);
        return rows[code].number;
}

const char *error_code_meaning(ErrorCode code) {
        assert(code < _ERROR_CODE_MAX);
        return rows[code].meaning;
}

ErrorCode error_code_from_name(Slice name) {
        for (unsigned code = ERROR_NONE + 1; code < _ERROR_CODE_MAX; code++)
                if (slice_equal(name, slice_of(error_code_names[code])))
                        return (ErrorCode)code;
        return ERROR_NONE;
}
