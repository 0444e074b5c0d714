/* SPDX-License-Identifier: MIT */

/*
 * Two doubly linked lists. Doubly, because a message whose deadline passes leaves from the middle. Which lane a message
 * is in is told by is_timer; what a worker hands back goes to the front of its lane, so the order of arrival is never
 * changed.
 *
 * What to do when there is no room (reject, drop_oldest, drop_newest) is decided by whoever pushes, since it ends
 * in an answer to somebody; the mailbox only says that it is full, and which message is the oldest.
 */

#include "runtimed/mailbox.h"

void mailbox_init(Mailbox *mailbox, uint64_t capacity, uint64_t bytes_max) {
        assert(capacity > 0 && capacity <= UINT32_MAX);

        *mailbox = (Mailbox){ .capacity = (uint32_t)capacity, .bytes_max = bytes_max };
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

bool mailbox_has_room(const Mailbox *mailbox, size_t n_bytes) {
        if (mailbox->n_ordinary == 0)
                return true;

        return mailbox->n_ordinary < mailbox->capacity && mailbox->n_bytes + n_bytes <= mailbox->bytes_max;
}

int mailbox_push(Mailbox *mailbox, Mail *mail) {
        assert(!mail->is_timer);

        if (!mailbox_has_room(mailbox, mail->n_bytes))
                return MAILBOX_E_FULL;

        list_append(&mailbox->ordinary, mail);
        mailbox->n_ordinary++;
        mailbox->n_bytes += mail->n_bytes;
        return 0;
}

void mailbox_push_urgent(Mailbox *mailbox, Mail *mail) {
        assert(mail->is_timer);

        list_append(&mailbox->urgent, mail);
        mailbox->n_urgent++;
}

static void return_one(Mailbox *mailbox, Mail *mail) {
        if (mail->is_timer) {
                list_prepend(&mailbox->urgent, mail);
                mailbox->n_urgent++;
                return;
        }

        list_prepend(&mailbox->ordinary, mail);
        mailbox->n_ordinary++;
        mailbox->n_bytes += mail->n_bytes;
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
                return_one(mailbox, reversed);
        }
}

void mailbox_remove(Mailbox *mailbox, Mail *mail) {
        if (mail->is_timer) {
                list_remove(&mailbox->urgent, mail);
                mailbox->n_urgent--;
                return;
        }

        list_remove(&mailbox->ordinary, mail);
        mailbox->n_ordinary--;
        mailbox->n_bytes -= mail->n_bytes;
}

Mail *mailbox_pop(Mailbox *mailbox, bool urgent_only) {
        Mail *mail = mailbox->urgent.first;

        if (!mail && !urgent_only)
                mail = mailbox->ordinary.first;
        if (mail)
                mailbox_remove(mailbox, mail);

        return mail;
}

Mail *mailbox_oldest(const Mailbox *mailbox) {
        return mailbox->ordinary.first;
}
