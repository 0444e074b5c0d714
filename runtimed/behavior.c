/* SPDX-License-Identifier: MIT */

/*
 * The list of built-in behaviours, and what all behaviours share.
 */

#include <stdarg.h>
#include <stdio.h>

#include "runtimed/behavior_builtin.h"

const Behavior *const behaviors_builtin[] = {
        &behavior_counter,
        &behavior_delay,
        &behavior_echo,
        &behavior_relay,
        NULL,
};

const Behavior *behavior_find(const Behavior *const *list, Slice type) {
        for (; *list; list++)
                if (slice_equal(slice_of((*list)->type), type))
                        return *list;

        return NULL;
}

void behavior_list_types(const Behavior *const *list, char *ret_text, size_t size) {
        size_t used = 0;

        assert(size > 0);

        ret_text[0] = '\0';
        for (size_t i = 0; list[i] && used < size; i++)
                used += (size_t)snprintf(ret_text + used, size - used, "%s%s", i > 0 ? ", " : "", list[i]->type);
}

void behavior_fail(BehaviorReply *reply, ErrorCode code, const char *format, ...) {
        char text[256];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);

        reply->verdict = BEHAVIOR_ERROR;
        reply->code = code;
        buffer_clear(&reply->output);
        buffer_append_slice(&reply->output, slice_of(text));
}

void behavior_reply_done(BehaviorReply *reply) {
        buffer_done(&reply->output);
        effects_clear(&reply->effects);
}

int refuse_parameters(int r, const WireError *error, char *ret_why, size_t why_size) {
        if (r < 0)
                return r;

        (void)snprintf(ret_why, why_size, "parameters: %s", error->text);
        return BEHAVIOR_E_REFUSED;
}
