/* SPDX-License-Identifier: MIT */

/*
 * A list in an arena: what one call wants is freed as one. A list that nothing was added to owns nothing, and most
 * calls want nothing.
 */

#include <string.h>

#include "runtimed/effect.h"

const char *const effect_kind_names[_EFFECT_KIND_MAX] = {
        [EFFECT_NONE] = "none",
        [EFFECT_PUBLISH] = "publish",
        [EFFECT_REPLY] = "reply",
        [EFFECT_ASK] = "ask",
        [EFFECT_INVOKE] = "invoke",
        [EFFECT_TRIGGER] = "trigger",
        [EFFECT_SUBSCRIBE] = "subscribe",
        [EFFECT_UNSUBSCRIBE] = "unsubscribe",
        [EFFECT_TIMER] = "timer",
        [EFFECT_CANCEL_TIMER] = "cancel_timer",
        [EFFECT_CHECKPOINT] = "checkpoint",
        [EFFECT_STOP] = "stop",
        [EFFECT_LOG] = "log",
};

Effect *effects_add(EffectList *list, EffectKind kind) {
        Effect *effect = NULL;

        assert(kind > EFFECT_NONE && kind < _EFFECT_KIND_MAX);

        if (list->n < EFFECTS_MAX)
                effect = arena_alloc(&list->arena, sizeof(*effect));
        if (!effect) {
                list->failed = true;
                return NULL;
        }

        *effect = (Effect){ .kind = kind };
        if (list->last)
                list->last->next = effect;
        else
                list->first = effect;
        list->last = effect;
        list->n++;
        return effect;
}

Slice effects_keep(EffectList *list, Slice bytes) {
        char *copy;

        if (!bytes.data)
                return SLICE_NONE;

        copy = arena_alloc(&list->arena, bytes.size);
        if (!copy) {
                list->failed = true;
                return SLICE_NONE;
        }

        if (bytes.size > 0)
                memcpy(copy, bytes.data, bytes.size);
        list->n_bytes += bytes.size;
        return (Slice){ copy, bytes.size };
}

uint32_t effects_count(const EffectList *list, EffectKind kind) {
        uint32_t n = 0;

        for (const Effect *effect = list->first; effect; effect = effect->next)
                n += effect->kind == kind;
        return n;
}

void effects_clear(EffectList *list) {
        arena_clear(&list->arena);
        *list = (EffectList){};
}
