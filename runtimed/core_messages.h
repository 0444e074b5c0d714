/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The inside of a Runtime, continued (core.h): what arrives, what goes out, and what is said of it.
 */

#include "runtimed/core.h"

/* handle_trigger.c */

void core_on_trigger(Runtime *runtime, const InMessage *message, Instant now);

/* subscribe.c */

/* Would the definition's topics be allowed? Before anything is made. */
/*
 * May a result, or the answer to a message, be published there? Whoever asks says where, and it is done in our name:
 * not below the prefix but for results, not to `$`..., and where options.reply_subjects is a list, nowhere else but
 * there and into inboxes. `subject` is valid.
 */
bool core_may_answer_to(const Runtime *runtime, Slice subject);

int core_check_topics(Runtime *runtime, const Definition *definition, ErrorCode *ret_code, WireError *ret_error);
int core_subscribe_configured(Runtime *runtime, Agent *agent); /* and its reply topic: 0, -ENOMEM */
void core_change_configured(Runtime *runtime, Agent *agent, const Definition *old);
void core_unsubscribe_all(Runtime *runtime, Agent *agent);
void core_suspend_topics(Runtime *runtime, Agent *agent); /* it gets nothing, and keeps its list */
int core_resume_topics(Runtime *runtime, Agent *agent);   /* 0, -ENOMEM */
void core_leave_topics(Runtime *runtime); /* the runtime stops: nothing new, and what the server has sent still comes */
int core_subscribe(
        Runtime *runtime, Agent *agent, const TopicWanted *wanted, ErrorCode *ret_code, WireError *ret_error);
int core_unsubscribe(Runtime *runtime, Agent *agent, Slice topic, ErrorCode *ret_code, WireError *ret_error);

/* deliver.c */

bool core_has_mail_room(const Runtime *runtime);                              /* limits.max_mail_bytes */
void core_on_letter(Runtime *runtime, const InMessage *message, Instant now); /* it came for a topic */
/* Answers whoever asked with it, if somebody did: with the output, or with `code` and the sentence. */
void core_answer_letter(
        Runtime *runtime, const Agent *agent, const Letter *letter, ErrorCode code, Slice output, Instant now);
/* A copy that no behaviour will see: counted, answered if somebody asked, freed. */
void core_drop_delivery(Runtime *runtime, Delivery *delivery, ErrorCode code, Instant now);

/* effects.c, conversations.c, timers.c */

/* What an agent is at when it wants something. */
typedef struct Occasion {
        uint64_t message_id; /* 0: no message is being handled */
        Slice exec_id;       /* absent: it is no execution */
        const Envelope *envelope;
        uint32_t n_invoked; /* calls of capabilities that this message has led to before */
} Occasion;

/* The list stays the caller's. One of its effects may end the message, but only when the occasion is not needed any
 * more. */
void core_apply_effects(
        Runtime *runtime, Agent *agent, const Occasion *occasion, const EffectList *effects, Instant now);

typedef struct WishAnswer {
        uint64_t token;
        ErrorCode code; /* ERROR_NONE, or then `body` is the sentence that says why */
        Slice body;
        const Envelope *envelope; /* what the behaviour emits while it handles the answer inherits */
} WishAnswer;

int core_answer_wish(Runtime *runtime, Agent *agent, const WishAnswer *answer); /* 0, -ENOMEM */

/* Below our inbox; `token` is the rest of the subject. */
void core_on_ask_answer(Runtime *runtime, const InMessage *message, Slice token, Instant now);
void core_on_call_answer(Runtime *runtime, const InMessage *message, Slice token, Instant now);
void core_on_ask_time(Runtime *runtime, Deadline *deadline, Instant now);
void core_on_timer(Runtime *runtime, Deadline *deadline, Instant now);
/* Is that where the agent awaits an answer? Then a message that wants it there is the agent's own question. */
bool core_asks_itself(const Runtime *runtime, const Agent *agent, Slice reply_to);
/* Its behaviour is gone, or needs nothing any more: asks, timers, and answers that it did not get yet. */
void core_end_conversations(Runtime *runtime, Agent *agent);

/* answer.c: each ends the execution as far as the rest of the world is concerned */

void core_note_started(Runtime *runtime, Execution *execution, uint64_t started_usec, Instant now);
bool core_must_hold(const Runtime *runtime, const Execution *execution); /* may no answer go out now? */
void core_finish(Runtime *runtime, Execution *execution, Instant now);   /* with what its behaviour replied */
void core_fail(Runtime *runtime, Execution *execution, ErrorCode code, const char *why, Instant now);
void core_expire_unsaid(
        Runtime *runtime, Execution *execution, Instant now); /* withheld: the deadline passed, nothing could be said */
void core_withhold(Runtime *runtime, Execution *execution, const char *why);
void core_hand_back(Runtime *runtime, Execution *execution, Instant now);
void core_drop(Runtime *runtime, Execution *execution); /* never taken after all: no word to anybody */
void core_release_held(Runtime *runtime, Instant now);
void core_release_execution(Runtime *runtime, Execution *execution, Instant now); /* if nothing else holds it */
/* A failure for a trigger that was not taken, straight to `reply_to`. */
void core_answer_refusal(
        Runtime *runtime, const Trigger *trigger, Slice reply_to, ErrorCode code, const char *why, Instant now);
void core_publish_copy(Runtime *runtime, Slice subject, Slice headers, Slice body);

/* herald.c */

void core_publish_registration(Runtime *runtime, Instant now);
void core_publish_parts(Runtime *runtime, Instant now); /* the next of a registration that is too large for one turn */
void core_drop_parts(Runtime *runtime);
void core_publish_heartbeat(Runtime *runtime, Instant now);
void core_publish_changes(Runtime *runtime, Instant now);
void core_publish_deregistration(Runtime *runtime, Instant now);
void core_on_registration_answer(Runtime *runtime, const InMessage *message, Instant now);
void core_on_announce(Runtime *runtime, const InMessage *message, Instant now);
void core_on_deregistered(Runtime *runtime, const InMessage *message, Instant now);

/* control.c */

/* Answers a request about that agent: ERROR_NONE with what it is now. */
void core_answer_request(Runtime *runtime, const Agent *agent, Slice reply, ErrorCode code, Slice why);

void core_on_request(Runtime *runtime, const InMessage *message, Slice verb, Instant now);

/* service.c */

int core_make_service_subject(const Runtime *runtime, unsigned number, char **ret); /* 0, -ENOMEM */
void core_on_discovery(Runtime *runtime, const InMessage *message);

/* spans.c; for `begin` there must be a tracer, for `end` a span that is recorded (a delivery's: there) */

Slice core_begin_execution_span(Runtime *runtime, Slice headers, TraceSpan *ret); /* the headers to go on with */
void core_end_execution_span(Runtime *runtime, Execution *execution, const char *status, ErrorCode code, Slice why);
void core_trace_letter(Runtime *runtime, const InMessage *message, Envelope *envelope, Instant now);
void core_begin_delivery_span(Runtime *runtime, Delivery *delivery, Instant now);
void core_end_delivery_span(Runtime *runtime, Delivery *delivery);
void core_end_ask_span(Runtime *runtime, Ask *ask, ErrorCode code, Slice why, Instant now);
