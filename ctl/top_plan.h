/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What `top` asks whom, and when; and what becomes of the answers. Pure: whoever sends and receives passes in the time.
 *
 * Each interval every dispatcher is asked for its status, and then only what is on the screen. The lists of runtimes
 * are read in pages, one question at a time, dispatcher after dispatcher; a sweep over a large fleet is followed by a
 * rest of nine times its length, so watching never takes more than a tenth of anybody's time. After one that lacks a
 * page, because an answer did not come, the next one begins soon: half a fleet is not to stand there for long.
 */

#include "ctl/client.h"
#include "ctl/top_ui.h"

#define TOP_ASKED_MAX 96
#define TOP_WATCHED_MAX 32 /* runtimes whose agents are listed together */

typedef enum TopQuestionKind {
        TOP_ASK_PING, /* service discovery: any number of answers */
        TOP_ASK_ANY,  /* the status of any dispatcher: for those that discovery does not find */
        TOP_ASK_STATUS,
        TOP_ASK_LIST, /* a page of runtimes */
        TOP_ASK_RUNTIME,
        TOP_ASK_AGENTS,
        TOP_ASK_AGENT,
        TOP_ASK_SUBSCRIPTIONS,
        TOP_ASK_ACTION,
} TopQuestionKind;

typedef struct TopQuestion {
        TopQuestionKind kind;
        uint64_t token; /* comes back with the answer */
        PeerKind peer;  /* not for TOP_ASK_PING */
        char id[ID_MAX + 1];
        const char *verb;
        char body[256];
        uint64_t asked_usec;
        TopAction action; /* TOP_ASK_ACTION */
} TopQuestion;

typedef struct TopSweep {
        bool is_running;
        size_t dispatcher; /* whose list is being read */
        char dispatcher_id[TOP_ID_MAX];
        char after[ID_MAX + 1];
        uint64_t start_usec, next_usec;
        bool any;    /* of the dispatchers has told its whole list */
        bool is_cut; /* some page did not come */
} TopSweep;

typedef struct TopPlan {
        uint64_t interval_usec, tick_usec, ping_usec; /* when the next ones are due */
        uint64_t last_token;
        TopSweep sweep;
        TopQuestion asked[TOP_ASKED_MAX];
        size_t n_asked;
        TopQuestion due[TOP_ASKED_MAX]; /* not handed out yet */
        size_t n_due;
        TopAction action; /* wanted, and not asked for yet */
        bool is_looking;  /* something is to be asked before the next tick */
        bool is_connected;
} TopPlan;

void top_plan_init(TopPlan *plan, uint64_t interval_usec);

/* Asks what is due, and gives up what nobody answers in time. Returns whether the model's interval has passed. */
bool top_plan_turn(TopPlan *plan, TopModel *model, TopUi *ui, bool is_connected, uint64_t now_usec);

/* Something else is looked at: it is asked for at once. */
void top_plan_look(TopPlan *plan);
void top_plan_act(TopPlan *plan, const TopAction *action);

/* The next question to send; false: none now. Borrowed until the next call. */
bool top_plan_next(TopPlan *plan, uint64_t now_usec, const TopQuestion **ret);

/* A message with that token; data NULL: nobody listens there. Unknown tokens are ignored. */
void top_plan_answer(
        TopPlan *plan, TopModel *model, TopUi *ui, uint64_t token, const char *data, size_t size, uint64_t now_usec);

/* When top_plan_turn() is due. */
uint64_t top_plan_next_usec(const TopPlan *plan);
