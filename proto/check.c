/* SPDX-License-Identifier: MIT */

#include "proto/check.h"

int check_type(const Metadata *metadata, const char *type, WireError *ret_error) {
        if (!metadata->type.data || slice_equal(metadata->type, slice_of(type)))
                return 0;
        return wire_error(ret_error, "metadata.type \"%.*s\" is not %s", SLICE_ARG(metadata->type), type);
}

int check_at_least(const char *field, uint64_t value, uint64_t least, WireError *ret_error) {
        if (value >= least)
                return 0;
        return wire_error(ret_error, "%s is %llu, the least is %llu", field, (unsigned long long)value,
                (unsigned long long)least);
}

int check_interval(const char *field, uint64_t *interval_ms, uint64_t fallback, WireError *ret_error) {
        if (*interval_ms != U64_UNSET)
                return check_at_least(field, *interval_ms, INTERVAL_MS_MIN, ret_error);

        *interval_ms = fallback;
        return 0;
}

Slice body_or_empty_object(Slice body) {
        return body.size > 0 ? body : SLICE("{}");
}
