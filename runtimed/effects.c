/* SPDX-License-Identifier: MIT */

#include "runtimed/core.h"

void core_apply_effects(Runtime *runtime, Agent *agent, uint64_t message_id, const Envelope *envelope, Slice exec_id,
        const EffectList *effects, Instant now) {
        (void)runtime;
        (void)agent;
        (void)message_id;
        (void)envelope;
        (void)exec_id;
        (void)effects;
        (void)now;
}
void core_on_ask_answer(Runtime *runtime, const InMessage *message, Slice token, Instant now) {
        (void)runtime;
        (void)message;
        (void)token;
        (void)now;
}
void core_on_ask_time(Runtime *runtime, Deadline *deadline, Instant now) {
        (void)runtime;
        (void)deadline;
        (void)now;
}
void core_on_timer(Runtime *runtime, Deadline *deadline, Instant now) {
        (void)runtime;
        (void)deadline;
        (void)now;
}
void core_end_conversations(Runtime *runtime, Agent *agent) {
        (void)runtime;
        (void)agent;
}
void runtime_on_effects(Runtime *runtime, Agent *agent, uint64_t message_id, const EffectList *effects, Instant now) {
        (void)runtime;
        (void)agent;
        (void)message_id;
        (void)effects;
        (void)now;
}
