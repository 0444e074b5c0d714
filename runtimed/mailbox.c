/* SPDX-License-Identifier: MIT */

/*
 * A doubly linked list per lane. Doubly, because a message whose deadline passes leaves from the middle. What a worker
 * hands back goes to the front of its lane, so the order of arrival within a lane is never changed.
 *
 * Lanes are taken strictly in order but for one thing: background mail would wait for ever behind a stream of other
 * mail, so it gets one turn in BACKGROUND_TURN. Control and urgent mail takes no turn from it: there is only as much of
 * that as was begun before.
 *
 * What to do when there is no room (reject, drop_oldest, drop_newest) is decided by whoever pushes, since it ends
 * in an answer to somebody; the mailbox only says that it is full, and which message is the oldest.
 */

#include "runtimed/mailbox.h"

#define BACKGROUND_TURN 16 /* 6 % of the turns: it moves, and nobody else notices */

Mailbox *mailbox_new(void) {
        return calloc(1, sizeof(Mailbox));
}

Mailbox *mailbox_free(Mailbox *mailbox) {
        if (!mailbox)
                return NULL;

        assert(mailbox_is_empty(mailbox, LANES_ALL));
        free(mailbox);
        return NULL;
}

static void list_append(MailList *list, Mail *mail) {
        mail->next = NULL;
        mail->previous = list->last;
        if (list->last)
                list->last->next = mail;
        else
                list->first = mail;
        list->last = mail;
}

static void list_prepend(MailList *list, Mail *mail) {
        mail->previous = NULL;
        mail->next = list->first;
        if (list->first)
                list->first->previous = mail;
        else
                list->last = mail;
        list->first = mail;
}

static void list_remove(MailList *list, Mail *mail) {
        if (mail->previous)
                mail->previous->next = mail->next;
        else
                list->first = mail->next;
        if (mail->next)
                mail->next->previous = mail->previous;
        else
                list->last = mail->previous;
        mail->next = mail->previous = NULL;
}

static bool is_bounded(Lane lane) {
        return lane >= LANE_REALTIME;
}

static void count_in(Mailbox *mailbox, const Mail *mail) {
        mailbox->n[mail->lane]++;
        mailbox->n_triggers += mail->kind == MAIL_TRIGGER;
        if (is_bounded(mail->lane)) {
                mailbox->n_bounded++;
                mailbox->n_bytes += mail->n_bytes;
        }
}

static void count_out(Mailbox *mailbox, const Mail *mail) {
        mailbox->n[mail->lane]--;
        mailbox->n_triggers -= mail->kind == MAIL_TRIGGER;
        if (is_bounded(mail->lane)) {
                mailbox->n_bounded--;
                mailbox->n_bytes -= mail->n_bytes;
        }
}

bool mailbox_has_room(const Mailbox *mailbox, const MailboxLimits *limits, size_t n_bytes) {
        const uint64_t n = mailbox->n_bounded + mailbox->n_given;

        if (n == 0)
                return true;

        return n < limits->capacity && mailbox->n_bytes + mailbox->n_bytes_given + n_bytes <= limits->bytes_max;
}

int mailbox_push(Mailbox *mailbox, const MailboxLimits *limits, Mail *mail) {
        assert(mail->lane < _LANE_MAX);

        if (is_bounded(mail->lane) && !mailbox_has_room(mailbox, limits, mail->n_bytes))
                return MAILBOX_E_FULL;

        list_append(&mailbox->lanes[mail->lane], mail);
        count_in(mailbox, mail);
        return 0;
}

void mailbox_return(Mailbox *mailbox, Mail *mail) {
        Mail *reversed = NULL, *next;

        for (; mail; mail = next) {
                next = mail->next;
                mail->next = reversed;
                reversed = mail;
        }

        for (; reversed; reversed = next) {
                next = reversed->next;
                list_prepend(&mailbox->lanes[reversed->lane], reversed);
                count_in(mailbox, reversed);
        }
}

void mailbox_remove(Mailbox *mailbox, Mail *mail) {
        list_remove(&mailbox->lanes[mail->lane], mail);
        count_out(mailbox, mail);
}

/* Which lane has the turn; _LANE_MAX: those are all empty. */
static Lane choose(Mailbox *mailbox, unsigned lanes) {
        const bool background_waits = lanes & 1u << LANE_BACKGROUND && mailbox->n[LANE_BACKGROUND] > 0;
        Lane lane = LANE_CONTROL;

        while (lane < _LANE_MAX && !(lanes & 1u << lane && mailbox->n[lane] > 0))
                lane++;
        if (!background_waits || !is_bounded(lane))
                return lane;

        if (lane == LANE_BACKGROUND || mailbox->n_passed_over + 1 >= BACKGROUND_TURN) {
                mailbox->n_passed_over = 0;
                return LANE_BACKGROUND;
        }

        mailbox->n_passed_over++;
        return lane;
}

Mail *mailbox_pop(Mailbox *mailbox, unsigned lanes) {
        const Lane lane = choose(mailbox, lanes);
        Mail *mail;

        if (lane == _LANE_MAX)
                return NULL;

        mail = mailbox->lanes[lane].first;
        mailbox_remove(mailbox, mail);
        return mail;
}

Mail *mailbox_pop_lane(Mailbox *mailbox, unsigned lanes, uint32_t n_max, uint32_t *ret_n, uint64_t *ret_n_bytes) {
        Lane lane = LANE_REALTIME;
        MailList *list;

        while (lane < _LANE_MAX && mailbox->n[lane] == 0)
                lane++;
        if (lane == _LANE_MAX || !(lanes & 1u << lane) || mailbox->n[lane] > n_max || mailbox->n_triggers > 0 ||
                mailbox->n_bounded > mailbox->n[lane] || !mailbox_is_empty(mailbox, lanes & LANES_BEGUN))
                return NULL;

        list = &mailbox->lanes[lane];
        *ret_n = mailbox->n[lane];
        *ret_n_bytes = mailbox->n_bytes;
        mailbox->n[lane] = mailbox->n_bounded = mailbox->n_passed_over = 0;
        mailbox->n_bytes = 0;
        list->last = NULL;
        return TAKE_PTR(list->first);
}

Mail *mailbox_oldest(const Mailbox *mailbox) {
        for (Lane lane = LANE_BACKGROUND; is_bounded(lane); lane--)
                if (mailbox->lanes[lane].first)
                        return mailbox->lanes[lane].first;

        return NULL;
}

uint32_t mailbox_size(const Mailbox *mailbox) {
        return mailbox ? mailbox->n_bounded + mailbox->n[LANE_URGENT] : 0;
}

bool mailbox_is_empty(const Mailbox *mailbox, unsigned lanes) {
        for (Lane lane = LANE_CONTROL; mailbox && lane < _LANE_MAX; lane++)
                if (lanes & 1u << lane && mailbox->n[lane] > 0)
                        return false;

        return true;
}
