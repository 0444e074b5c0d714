/* SPDX-License-Identifier: MIT */

/*
 * One step of a run. n_begun is raised before the message is looked at and called_off is read after, both sequentially
 * consistent, so that whoever calls a message off and then reads n_begun knows for certain when it can't run any more.
 */

#include "runtimed/run.h"

static void call_behavior(const Run *run, Mail *mail) {
        BehaviorReply *reply = &mail->reply;

        buffer_clear(&reply->output);
        reply->verdict = BEHAVIOR_NONE;
        reply->code = ERROR_NONE;

        if (mail->is_timer)
                run->behavior->on_timer(run->behavior_state, &mail->message, reply);
        else
                run->behavior->handle(run->behavior_state, &mail->message, reply);
}

Outcome *run_step(Run *run, uint64_t now_usec) {
        Mail *mail = run->mail;
        Outcome *outcome;

        assert(mail);

        run->mail = mail->next;
        mail->next = NULL;
        outcome = &mail->outcome;

        (void)atomic_fetch_add(&run->n_begun, 1);

        *outcome = (Outcome){
                .run = run,
                .mail = mail,
                .started_usec = now_usec,
                .finished_usec = now_usec,
                .skipped = atomic_load(&mail->called_off),
        };
        if (!outcome->skipped)
                call_behavior(run, mail);

        outcome->run_ended = !run->mail;
        return outcome;
}
