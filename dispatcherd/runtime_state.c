/* SPDX-License-Identifier: MIT */

/*
 * The lifecycle of a runtime in the registry, as a table: what each event means in each state. registry.c has the one
 * writer.
 */

#include "dispatcherd/registry.h"

static const char *const state_names[_RUNTIME_STATE_MAX] = { [RUNTIME_INVALID] = "invalid",
#define X(name, text, meaning) [RUNTIME_##name] = (text),
        RUNTIME_STATES(X)
#undef X
};

static const char *const event_names[_RUNTIME_EVENT_MAX] = {
        [RUNTIME_EV_COMPLETE] = "registration complete",
        [RUNTIME_EV_HEARD] = "heard",
        [RUNTIME_EV_SILENCE] = "silence",
        [RUNTIME_EV_DRAIN] = "drain",
        [RUNTIME_EV_RESUME] = "resume",
        [RUNTIME_EV_RESTART] = "restart",
        [RUNTIME_EV_REMOVE] = "remove",
};

/* An empty cell is RUNTIME_INVALID: it must not happen. */
static const RuntimeState next_state[_RUNTIME_STATE_MAX][_RUNTIME_EVENT_MAX] = {
        [RUNTIME_JOINING] = {
                [RUNTIME_EV_COMPLETE] = RUNTIME_LIVE,
                [RUNTIME_EV_HEARD] = RUNTIME_JOINING,
                [RUNTIME_EV_SILENCE] = RUNTIME_JOINING,
                [RUNTIME_EV_DRAIN] = RUNTIME_JOINING,
                [RUNTIME_EV_RESUME] = RUNTIME_JOINING,
                [RUNTIME_EV_RESTART] = RUNTIME_JOINING,
                [RUNTIME_EV_REMOVE] = RUNTIME_GONE,
        },
        [RUNTIME_LIVE] = {
                [RUNTIME_EV_COMPLETE] = RUNTIME_LIVE,
                [RUNTIME_EV_HEARD] = RUNTIME_LIVE,
                [RUNTIME_EV_SILENCE] = RUNTIME_SUSPECT,
                [RUNTIME_EV_DRAIN] = RUNTIME_DRAINING,
                [RUNTIME_EV_RESUME] = RUNTIME_LIVE,
                [RUNTIME_EV_RESTART] = RUNTIME_JOINING,
                [RUNTIME_EV_REMOVE] = RUNTIME_GONE,
        },
        [RUNTIME_SUSPECT] = {
                [RUNTIME_EV_COMPLETE] = RUNTIME_LIVE,
                [RUNTIME_EV_HEARD] = RUNTIME_LIVE,
                [RUNTIME_EV_SILENCE] = RUNTIME_SUSPECT,
                [RUNTIME_EV_DRAIN] = RUNTIME_DRAINING,
                [RUNTIME_EV_RESUME] = RUNTIME_SUSPECT,
                [RUNTIME_EV_RESTART] = RUNTIME_JOINING,
                [RUNTIME_EV_REMOVE] = RUNTIME_GONE,
        },
        [RUNTIME_DRAINING] = {
                [RUNTIME_EV_COMPLETE] = RUNTIME_DRAINING,
                [RUNTIME_EV_HEARD] = RUNTIME_DRAINING,
                [RUNTIME_EV_SILENCE] = RUNTIME_DRAINING,
                [RUNTIME_EV_DRAIN] = RUNTIME_DRAINING,
                [RUNTIME_EV_RESUME] = RUNTIME_LIVE,
                [RUNTIME_EV_RESTART] = RUNTIME_JOINING,
                [RUNTIME_EV_REMOVE] = RUNTIME_GONE,
        },
};

const char *runtime_state_name(RuntimeState state) {
        assert(state < _RUNTIME_STATE_MAX);
        return state_names[state];
}

const char *runtime_event_name(RuntimeEvent event) {
        assert(event < _RUNTIME_EVENT_MAX);
        return event_names[event];
}

RuntimeState runtime_state_next(RuntimeState state, RuntimeEvent event) {
        assert(state < _RUNTIME_STATE_MAX && event < _RUNTIME_EVENT_MAX);
        return next_state[state][event];
}
