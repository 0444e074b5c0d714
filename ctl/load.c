/* SPDX-License-Identifier: MIT */

/*
 * Each request has a slot and a number, and both are in its reply subject; so an answer that comes twice, or after its
 * time, is told from the one that is waited for. Requests time out in the order in which they were sent: one list, and
 * its head is the next.
 *
 * What a turn of the loop read frees slots, and they are filled again at its end, so that all its new requests leave
 * in one write.
 */

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "common/edge.h"
#include "common/nats_link.h"
#include "ctl/ctl.h"
#include "ctl/load.h"
#include "ctl/load_answer.h"

#define TICK_USEC (20 * USEC_PER_MSEC)
#define PACED_TICK_USEC (1 * USEC_PER_MSEC) /* with a rate: what is due is sent so late at most */
#define LEAVE_USEC (1 * USEC_PER_SEC)       /* after Ctrl-C, for what is under way */
#define BEHIND_MAX 10                       /* parts of a second by which a rate may be behind and catch up */

typedef struct Slot {
        uint64_t sent_usec;
        uint32_t sequence;
        bool is_waiting;
        TAILQ_ENTRY(Slot) entry; /* in `waiting` or `idle` */
} Slot;

TAILQ_HEAD(SlotList, Slot);

typedef struct Load {
        const LoadPlan *plan;
        LoadReport *report;
        struct event_base *base;
        struct event *tick;
        NatsLink *link;
        EdgeNames names;
        Slot *slots;
        struct SlotList waiting, idle;
        Buffer body, reply;
        uint64_t paced_from_usec, n_paced; /* the rate counts from then */
        uint64_t leave_usec;               /* 0: not leaving */
        uint64_t started_usec;             /* connecting */
        bool has_started, wants_more;
        int outcome;
        NatsReason *why;
} Load;

static void stop(Load *load, int outcome) {
        load->outcome = outcome;
        (void)event_base_loopbreak(load->base);
}

/* requests */

static void take_slot(Load *load, Slot *slot, uint64_t now) {
        TAILQ_REMOVE(&load->idle, slot, entry);
        TAILQ_INSERT_TAIL(&load->waiting, slot, entry);
        slot->sequence++;
        slot->sent_usec = now;
        slot->is_waiting = true;
        load->report->n_sent++;
        load->report->n_outstanding++;
}

static void free_slot(Load *load, Slot *slot, uint64_t now) {
        TAILQ_REMOVE(&load->waiting, slot, entry);
        TAILQ_INSERT_HEAD(&load->idle, slot, entry);
        slot->is_waiting = false;
        load->report->n_outstanding--;
        load->report->end_usec = now;
}

static bool may_send(const Load *load, uint64_t now) {
        const LoadPlan *plan = load->plan;
        const LoadReport *report = load->report;

        if (load->leave_usec > 0 || !report->is_up || TAILQ_EMPTY(&load->idle) || nats_link_is_congested(load->link))
                return false;
        if (plan->count > 0 && report->n_sent >= plan->count)
                return false;
        if (plan->duration_usec > 0 && now >= report->start_usec + plan->duration_usec)
                return false;
        return plan->rate == 0 || load->n_paced < (now - load->paced_from_usec) * plan->rate / USEC_PER_SEC;
}

static bool is_over(const Load *load, uint64_t now) {
        const LoadPlan *plan = load->plan;
        const LoadReport *report = load->report;

        if (report->n_outstanding > 0)
                return load->leave_usec > 0 && now >= load->leave_usec;
        return load->leave_usec > 0 || (plan->count > 0 && report->n_sent >= plan->count) ||
               (plan->duration_usec > 0 && now >= report->start_usec + plan->duration_usec);
}

static bool send_one(Load *load, uint64_t now) {
        Slot *slot = TAILQ_FIRST(&load->idle);
        OutMessage message = { .subject = slice_of(load->plan->subject), .headers = load->plan->headers };

        buffer_clear(&load->body);
        load->plan->write_body(load->report->n_sent + 1, &load->body, load->plan->userdata);
        buffer_clear(&load->reply);
        buffer_printf(&load->reply, "%s.l.%x.%x", load->names.inbox_prefix, (unsigned)(slot - load->slots),
                slot->sequence + 1);
        message.body = buffer_slice(&load->body);
        message.reply = buffer_slice(&load->reply);
        if (load->body.failed || load->reply.failed) {
                stop(load, -ENOMEM);
                return false;
        }
        switch (nats_link_publish(load->link, &message)) {
        case 0:
                take_slot(load, slot, now);
                load->n_paced++;
                return true;
        case NATS_LINK_E_TOO_LARGE:
                (void)snprintf(load->why->text, sizeof(load->why->text),
                        "%zu bytes are more than the server takes in a message", message.body.size);
                stop(load, -EMSGSIZE);
                return false;
        case NATS_LINK_E_DOWN:
        case NATS_LINK_E_CONGESTED:
                return false; /* later */
        default:
                (void)snprintf(load->why->text, sizeof(load->why->text), "%.150s: the message can't travel",
                        load->plan->subject);
                stop(load, -EINVAL);
                return false;
        }
}

/* A rate that could not be kept is caught up with a little, not with a burst of all that was left out. */
static void forgive(Load *load, uint64_t now) {
        const uint64_t rate = load->plan->rate;
        const uint64_t due = rate > 0 ? (now - load->paced_from_usec) * rate / USEC_PER_SEC : 0;

        if (due > load->n_paced + rate / BEHIND_MAX + 1)
                load->n_paced = due - rate / BEHIND_MAX - 1;
}

static void fill(Load *load, uint64_t now) {
        if (!load->has_started)
                return;
        forgive(load, now);
        while (may_send(load, now) && send_one(load, now)) {
        }
        if (is_over(load, now))
                stop(load, load->outcome);
}

/* answers */

static Slot *find_slot(const Load *load, Slice subject) {
        const size_t prefix = strlen(load->names.inbox_prefix);
        char text[32];
        unsigned index, sequence;

        if (subject.size <= prefix || subject.size - prefix >= sizeof(text))
                return NULL;
        memcpy(text, subject.data + prefix, subject.size - prefix);
        text[subject.size - prefix] = '\0';
        if (sscanf(text, ".l.%x.%x", &index, &sequence) != 2 || index >= load->plan->concurrency)
                return NULL;
        return load->slots[index].is_waiting && load->slots[index].sequence == sequence ? &load->slots[index] : NULL;
}

static void on_message(const InMessage *message, Instant now, void *userdata) {
        Load *load = userdata;
        Slot *slot = find_slot(load, message->subject);

        if (!slot)
                return; /* late, or twice */
        if (load->plan->is_bare && !message->no_responders)
                tally_add(&load->report->tally, TALLY_SUCCESS, SLICE_NONE, SLICE_NONE, now.usec - slot->sent_usec);
        else
                load_answer_tally(&load->report->tally, message, now.usec - slot->sent_usec);
        free_slot(load, slot, now.usec);
}

static void expire(Load *load, uint64_t now) {
        Slot *slot;

        while ((slot = TAILQ_FIRST(&load->waiting)) && slot->sent_usec + load->plan->timeout_usec <= now) {
                tally_add(&load->report->tally, TALLY_FAILURE, SLICE("NO_ANSWER"), SLICE("none within --timeout"),
                        UINT64_MAX);
                free_slot(load, slot, now);
        }
}

static void on_turn_end(void *userdata) {
        fill(userdata, instant_now().usec);
}

static void on_tick(evutil_socket_t fd, short what, void *userdata) {
        Load *load = userdata;
        const uint64_t now = instant_now().usec;

        (void)fd;
        (void)what;
        if (ctl_is_interrupted() && load->leave_usec == 0) {
                load->report->is_interrupted = true;
                load->leave_usec = now + LEAVE_USEC;
        }
        if (!load->has_started) {
                if (load->leave_usec > 0)
                        stop(load, 0);
                else if (now >= load->started_usec + load->plan->timeout_usec)
                        stop(load, -ETIMEDOUT);
                return;
        }
        expire(load, now);
        fill(load, now);
        nats_link_flush(load->link);
        if (load->plan->on_tick)
                load->plan->on_tick(load->report, now, load->plan->userdata);
}

/* the connection */

static void on_up(uint64_t max_payload, const char *server_version, void *userdata) {
        Load *load = userdata;
        const uint64_t now = instant_now().usec;

        (void)max_payload;
        (void)server_version;
        load->report->is_up = true;
        if (!load->has_started) {
                load->report->start_usec = load->report->end_usec = load->paced_from_usec = now;
                load->has_started = true;
        }
        fill(load, now);
        nats_link_flush(load->link);
}

static void on_down(const char *why, void *userdata) {
        Load *load = userdata;

        (void)snprintf(load->report->trouble, sizeof(load->report->trouble), "%s", why);
        load->report->is_up = false;
        load->report->n_disconnects++;
}

/* A server that does not let us ask or listen won't answer: waiting for the time-out would tell nobody anything. */
static void on_error(const char *why, void *userdata) {
        Load *load = userdata;

        (void)snprintf(load->report->trouble, sizeof(load->report->trouble), "%s", why);
        if (strcasestr(why, "permissions violation")) {
                (void)snprintf(load->why->text, sizeof(load->why->text), "NATS does not allow it: %.200s", why);
                stop(load, -EACCES);
        }
}

static int load_init(Load *load) {
        const LoadPlan *plan = load->plan;
        NatsLinkOptions options = edge_link_options(&plan->settings->daemon, "compozyctl", load->why);
        const uint64_t usec = plan->rate > 0 ? PACED_TICK_USEC : TICK_USEC;
        char subject[sizeof(load->names.inbox_prefix) + 16];
        int r;

        TAILQ_INIT(&load->waiting);
        TAILQ_INIT(&load->idle);
        load->slots = calloc(plan->concurrency, sizeof(*load->slots));
        load->base = event_base_new();
        if (!load->slots || !load->base)
                return -ENOMEM;
        for (uint64_t i = 0; i < plan->concurrency; i++)
                TAILQ_INSERT_TAIL(&load->idle, &load->slots[i], entry);
        edge_names(&plan->settings->daemon, &load->names);
        edge_inbox(&plan->settings->daemon, "operator", "compozyctl", &load->names);
        (void)snprintf(subject, sizeof(subject), "%s.l.*.*", load->names.inbox_prefix);
        options.on_up = on_up;
        options.on_down = on_down;
        options.on_message = on_message;
        options.on_turn_end = on_turn_end;
        options.on_error = on_error;
        options.userdata = load;
        r = nats_link_new(load->base, &options, &load->link);
        if (r == 0) /* ordered: so that "no responders" comes with the subject that says whose it is */
                r = nats_link_subscribe(load->link, &(NatsLinkSubscription){ .subject = subject, .ordered = true });
        if (r < 0)
                return r;
        load->tick = event_new(load->base, -1, EV_PERSIST, on_tick, load);
        if (!load->tick || event_add(load->tick, &(struct timeval){ .tv_usec = (suseconds_t)usec }) < 0)
                return -ENOMEM;
        return 0;
}

static void load_done(Load *load) {
        if (load->tick)
                event_free(load->tick);
        load->link = nats_link_free(load->link);
        if (load->base)
                event_base_free(load->base);
        free(load->slots);
        buffer_done(&load->body);
        buffer_done(&load->reply);
}

int load_run(const LoadPlan *plan, LoadReport *ret, NatsReason *ret_why) {
        _cleanup_(load_done) Load load = { .plan = plan, .report = ret, .why = ret_why };
        int r;

        *ret = (LoadReport){ 0 };
        ret_why->text[0] = '\0';
        r = load_init(&load);
        if (r < 0)
                return r;
        load.started_usec = instant_now().usec;
        (void)event_base_dispatch(load.base);
        if (load.outcome == -ETIMEDOUT)
                (void)snprintf(ret_why->text, sizeof(ret_why->text), "no connection to NATS at %.100s: %.100s",
                        load.names.shown_url, ret->trouble);
        return load.outcome;
}
