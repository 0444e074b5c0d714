/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "common/instant.h"
#include "ctl/top_plan.h"

#define ANSWER_USEC (2 * USEC_PER_SEC) /* who takes longer is asked again */
#define PING_USEC (5 * USEC_PER_SEC)   /* how often new dispatchers are looked for */
#define PING_ANSWER_USEC (1 * USEC_PER_SEC)
#define SWEEP_REST 9 /* times its length */
#define CUT_REST_USEC (1 * USEC_PER_SEC)
#define PAGE_RUNTIMES 1000
#define SAY_USEC (6 * USEC_PER_SEC)
#define AGENTS_SHOWN_MAX 100 /* what a runtime tells at most when it sorts */

void top_plan_init(TopPlan *plan, uint64_t interval_usec) {
        *plan = (TopPlan){ .interval_usec = interval_usec };
}

/* questions */

static bool is_asked(const TopPlan *plan, TopQuestionKind kind, const char *id) {
        for (size_t i = 0; i < plan->n_asked; i++)
                if (plan->asked[i].kind == kind && strcmp(plan->asked[i].id, id) == 0)
                        return true;
        for (size_t i = 0; i < plan->n_due; i++)
                if (plan->due[i].kind == kind && strcmp(plan->due[i].id, id) == 0)
                        return true;
        return false;
}

static TopQuestion *ask(TopPlan *plan, TopQuestionKind kind, PeerKind peer, const char *id, const char *verb) {
        TopQuestion *question;

        if (plan->n_asked + plan->n_due >= TOP_ASKED_MAX || (kind != TOP_ASK_ACTION && is_asked(plan, kind, id)) ||
                (id[0] != '\0' && !id_is_valid(slice_of(id))))
                return NULL;
        question = &plan->due[plan->n_due++];
        *question = (TopQuestion){ .kind = kind, .token = ++plan->last_token, .peer = peer, .verb = verb };
        (void)snprintf(question->id, sizeof(question->id), "%.*s", ID_MAX, id);
        (void)snprintf(question->body, sizeof(question->body), "{}");
        return question;
}

static void ask_for_page(TopPlan *plan) {
        TopQuestion *question = ask(plan, TOP_ASK_LIST, PEER_DISPATCHER, plan->sweep.dispatcher_id, "list_runtimes");

        if (question && plan->sweep.after[0] != '\0')
                (void)snprintf(question->body, sizeof(question->body), "{\"limit\":%d,\"after\":\"%s\"}", PAGE_RUNTIMES,
                        plan->sweep.after);
        else if (question)
                (void)snprintf(question->body, sizeof(question->body), "{\"limit\":%d}", PAGE_RUNTIMES);
        if (!question)
                plan->sweep.is_running = false;
}

static void begin_list(TopPlan *plan, const TopModel *model, size_t dispatcher) {
        plan->sweep.dispatcher = dispatcher;
        plan->sweep.after[0] = '\0';
        (void)snprintf(
                plan->sweep.dispatcher_id, sizeof(plan->sweep.dispatcher_id), "%s", model->dispatchers[dispatcher]->id);
        ask_for_page(plan);
}

static void begin_sweep(TopPlan *plan, const TopModel *model, uint64_t now_usec) {
        if (plan->sweep.is_running || model->n_dispatchers == 0 || now_usec < plan->sweep.next_usec)
                return;
        plan->sweep.is_running = true;
        plan->sweep.any = plan->sweep.is_cut = false;
        plan->sweep.start_usec = now_usec;
        begin_list(plan, model, 0);
}

/* The list of one dispatcher is read, or can't be: the next one's turn. */
static void go_on_sweeping(TopPlan *plan, TopModel *model, uint64_t now_usec) {
        const uint64_t length = now_usec - plan->sweep.start_usec;

        if (plan->sweep.dispatcher + 1 < model->n_dispatchers) {
                begin_list(plan, model, plan->sweep.dispatcher + 1);
                return;
        }
        if (plan->sweep.any)
                top_model_swept(model);
        plan->sweep.is_running = false;
        plan->sweep.next_usec = now_usec + (plan->sweep.is_cut ? CUT_REST_USEC : SWEEP_REST * length);
}

/* what is on the screen */

static void ask_for_agents(TopPlan *plan, const TopUi *ui, const char *runtime_id, unsigned limit) {
        size_t n;
        const TopColumn *column = &top_columns(TOP_TABLE_AGENTS, &n)[ui->tabs[ui->page].sort];
        TopQuestion *question = ask(plan, TOP_ASK_AGENTS, PEER_RUNTIME, runtime_id, "list_agents");

        if (question && column->sort)
                (void)snprintf(question->body, sizeof(question->body), "{\"limit\":%d,\"sort\":\"%s\"}",
                        AGENTS_SHOWN_MAX, column->sort);
        else if (question)
                (void)snprintf(question->body, sizeof(question->body), "{\"limit\":%u}", limit);
}

static double busyness(const TopRuntime *runtime) {
        return runtime->rate + (double)runtime->in_flight;
}

/* Of a large fleet the busiest: a runtime that does nothing has no busy agents. */
static void ask_for_busy_agents(TopPlan *plan, const TopModel *model, const TopUi *ui) {
        const TopRuntime *busiest[TOP_WATCHED_MAX];
        size_t n = 0;

        for (size_t i = 0; i < model->n_runtimes; i++) {
                const TopRuntime *runtime = model->runtimes[i];
                size_t place = n < TOP_WATCHED_MAX ? n++ : TOP_WATCHED_MAX;

                if (place == TOP_WATCHED_MAX && busyness(runtime) <= busyness(busiest[place - 1]))
                        continue;
                place = MIN_OF(place, (size_t)TOP_WATCHED_MAX - 1);
                for (; place > 0 && busyness(runtime) > busyness(busiest[place - 1]); place--)
                        busiest[place] = busiest[place - 1];
                busiest[place] = runtime;
        }
        for (size_t i = 0; i < n; i++)
                ask_for_agents(plan, ui, busiest[i]->id, AGENTS_SHOWN_MAX);
}

static void ask_for_agent(TopPlan *plan, const TopUi *ui) {
        static const struct {
                TopQuestionKind kind;
                const char *verb;
        } questions[] = { { TOP_ASK_AGENT, "get_agent" }, { TOP_ASK_SUBSCRIPTIONS, "get_agent_subscriptions" } };

        if (!id_is_valid(slice_of(ui->agent_id)))
                return;
        for (size_t i = 0; i < ELEMENTSOF(questions); i++) {
                TopQuestion *question = ask(plan, questions[i].kind, PEER_RUNTIME, ui->runtime_id, questions[i].verb);

                if (question)
                        (void)snprintf(question->body, sizeof(question->body), "{\"agent_id\":\"%.*s\"}", ID_MAX,
                                ui->agent_id);
        }
}

static void ask_for_page_shown(TopPlan *plan, const TopModel *model, const TopUi *ui) {
        switch (ui->page) {
        case TOP_PAGE_AGENTS:
                ask_for_busy_agents(plan, model, ui);
                break;
        case TOP_PAGE_RUNTIME:
                (void)ask(plan, TOP_ASK_RUNTIME, PEER_RUNTIME, ui->runtime_id, "status");
                ask_for_agents(plan, ui, ui->runtime_id, 1000);
                break;
        case TOP_PAGE_AGENT:
                ask_for_agent(plan, ui);
                break;
        default:
                break;
        }
}

/* `all`: also those whose last answer is young: a rate needs some distance between two. */
static void ask_for_dispatchers(TopPlan *plan, const TopModel *model, bool all, uint64_t now_usec) {
        if (now_usec >= plan->ping_usec) {
                plan->ping_usec = now_usec + (model->n_dispatchers > 0 ? PING_USEC : USEC_PER_SEC);
                (void)ask(plan, TOP_ASK_PING, PEER_DISPATCHERS, "", NULL);
                (void)ask(plan, TOP_ASK_ANY, PEER_DISPATCHERS, "", "status");
        }
        for (size_t i = 0; i < model->n_dispatchers; i++)
                if (all || model->dispatchers[i]->n_samples == 0)
                        (void)ask(plan, TOP_ASK_STATUS, PEER_DISPATCHER, model->dispatchers[i]->id, "status");
}

static void ask_for_action(TopPlan *plan) {
        const bool is_agent = plan->action.agent_id[0] != '\0';
        TopQuestion *question;

        if (plan->action.kind == TOP_ACTION_NONE)
                return;
        question = ask(plan, TOP_ASK_ACTION, is_agent ? PEER_RUNTIME : PEER_DISPATCHERS,
                is_agent ? plan->action.runtime_id : "", top_action_verb(plan->action.kind));
        if (!question)
                return;
        (void)snprintf(question->body, sizeof(question->body), "{\"%s\":\"%.*s\"}",
                is_agent ? "agent_id" : "runtime_id", ID_MAX,
                is_agent ? plan->action.agent_id : plan->action.runtime_id);
        question->action = plan->action;
        plan->action = (TopAction){ 0 };
}

/* answers */

static void say_action(TopUi *ui, const TopAction *action, const Answer *answer, uint64_t now_usec) {
        const bool is_agent = action->agent_id[0] != '\0', is_done = answer->kind == ANSWER_RESULT;
        const char *state = json_string_value(json_object_get(answer->result, "state"));

        top_ui_say(ui, is_done ? COLOUR_GOOD : COLOUR_BAD, now_usec + SAY_USEC, "%s %s: %s%s%s",
                top_action_name(action->kind), is_agent ? action->agent_id : action->runtime_id,
                is_done        ? state ? state : "done"
                : answer->code ? answer->code
                               : "no answer",
                is_done || answer->text[0] == '\0' ? "" : ": ", is_done ? "" : answer->text);
}

static void take_page(
        TopPlan *plan, TopModel *model, const TopQuestion *question, const Answer *answer, uint64_t now_usec) {
        const char *next = json_string_value(json_object_get(answer->result, "next"));
        const size_t place = plan->sweep.dispatcher;

        if (!plan->sweep.is_running)
                return;
        if (place >= model->n_dispatchers || strcmp(model->dispatchers[place]->id, question->id) != 0) {
                plan->sweep.is_running = false; /* one came or went: their order is another */
                return;
        }
        if (answer->kind == ANSWER_RESULT)
                top_model_runtimes(model, place, answer->result);
        plan->sweep.is_cut |= answer->kind == ANSWER_TIMEOUT;
        plan->sweep.any |= answer->kind == ANSWER_RESULT && !next;
        /* a list that does not get on would be read for ever */
        if (next && id_is_valid(slice_of(next)) && strcmp(next, plan->sweep.after) > 0) {
                (void)snprintf(plan->sweep.after, sizeof(plan->sweep.after), "%s", next);
                ask_for_page(plan);
        } else {
                go_on_sweeping(plan, model, now_usec);
        }
}

static void keep(json_t **place, const Answer *answer) {
        json_decref(*place);
        *place = json_incref(answer->result);
}

static void take_focus(TopModel *model, const Answer *answer, json_t **place) {
        if (answer->kind == ANSWER_RESULT) {
                keep(place, answer);
                model->trouble[0] = '\0';
        } else {
                (void)screen_text(model->trouble, sizeof(model->trouble), answer->text);
        }
}

static void take(TopPlan *plan, TopModel *model, TopUi *ui, const TopQuestion *question, const Answer *answer,
        uint64_t now_usec) {
        const bool is_result = answer->kind == ANSWER_RESULT;

        model->now_usec = now_usec;
        switch (question->kind) {
        case TOP_ASK_PING:
                break;
        case TOP_ASK_ANY:
                if (is_result)
                        top_model_found(model, json_string_value(json_object_get(answer->result, "dispatcher_id")));
                top_plan_look(plan);
                break;
        case TOP_ASK_STATUS:
                if (is_result)
                        top_model_dispatcher(model, answer->result, now_usec - question->asked_usec);
                break;
        case TOP_ASK_LIST:
                take_page(plan, model, question, answer, now_usec);
                break;
        case TOP_ASK_RUNTIME:
                if (ui->page == TOP_PAGE_RUNTIME && strcmp(ui->runtime_id, question->id) == 0)
                        take_focus(model, answer, &model->runtime_status);
                break;
        case TOP_ASK_AGENTS:
                if (is_result)
                        top_model_agents(model, question->id, answer->result);
                break;
        case TOP_ASK_AGENT:
                if (ui->page == TOP_PAGE_AGENT && strcmp(ui->runtime_id, question->id) == 0)
                        take_focus(model, answer, &model->agent);
                break;
        case TOP_ASK_SUBSCRIPTIONS:
                if (is_result && ui->page == TOP_PAGE_AGENT && strcmp(ui->runtime_id, question->id) == 0)
                        keep(&model->subscriptions, answer);
                break;
        case TOP_ASK_ACTION:
                say_action(ui, &question->action, answer, now_usec);
                top_plan_look(plan);
                break;
        }
}

static void take_ping(TopModel *model, const char *data, size_t size) {
        json_t *root = json_loadb(data, size, 0, NULL);

        top_model_found(model, json_string_value(json_object_get(root, "id")));
        json_decref(root);
}

void top_plan_answer(
        TopPlan *plan, TopModel *model, TopUi *ui, uint64_t token, const char *data, size_t size, uint64_t now_usec) {
        _cleanup_(answer_done) Answer answer = {};
        TopQuestion question;
        size_t i = 0;

        while (i < plan->n_asked && plan->asked[i].token != token)
                i++;
        if (i == plan->n_asked)
                return;
        model->now_usec = now_usec;
        if (plan->asked[i].kind == TOP_ASK_PING && data) {
                take_ping(model, data, size);
                top_plan_look(plan);
                return; /* and more may come */
        }
        question = plan->asked[i];
        plan->asked[i] = plan->asked[--plan->n_asked];
        (void)snprintf(answer.subject, sizeof(answer.subject), "%s", question.verb ? question.verb : "");
        if (data) {
                answer_read(&answer, data, size);
        } else {
                answer.kind = ANSWER_NOBODY;
                (void)snprintf(answer.text, sizeof(answer.text), "nobody listens: is %s%s running?",
                        question.peer == PEER_RUNTIME ? "runtime " : "a dispatcher",
                        question.peer == PEER_RUNTIME ? question.id : "");
        }
        take(plan, model, ui, &question, &answer, now_usec);
}

static void give_up(TopPlan *plan, TopModel *model, TopUi *ui, bool all, uint64_t now_usec) {
        for (size_t i = 0; i < plan->n_asked;) {
                const TopQuestion question = plan->asked[i];
                const uint64_t patience = question.kind == TOP_ASK_PING ? PING_ANSWER_USEC : ANSWER_USEC;
                Answer answer = { .kind = ANSWER_TIMEOUT };

                if (!all && now_usec - question.asked_usec < patience) {
                        i++;
                        continue;
                }
                plan->asked[i] = plan->asked[--plan->n_asked];
                (void)snprintf(answer.text, sizeof(answer.text), "%s", all ? "the connection was lost" : "no answer");
                take(plan, model, ui, &question, &answer, now_usec);
        }
}

/* the clock */

bool top_plan_turn(TopPlan *plan, TopModel *model, TopUi *ui, bool is_connected, uint64_t now_usec) {
        const bool is_new = is_connected && !plan->is_connected;
        bool is_tick;

        if (!is_connected && plan->is_connected) { /* answers to them can't come any more */
                give_up(plan, model, ui, /* all= */ true, now_usec);
                plan->n_due = 0;
                plan->sweep.is_running = false;
        }
        plan->is_connected = is_connected;
        give_up(plan, model, ui, /* all= */ false, now_usec);
        if (is_new)
                plan->ping_usec = 0;
        is_tick = now_usec >= plan->tick_usec || is_new;
        if (is_tick) {
                plan->tick_usec = now_usec + plan->interval_usec;
                top_model_tick(model, is_connected, now_usec);
        }
        if (is_connected && (is_tick || plan->is_looking)) {
                plan->is_looking = false;
                ask_for_action(plan);
                ask_for_dispatchers(plan, model, /* all= */ is_tick, now_usec);
                begin_sweep(plan, model, now_usec);
                ask_for_page_shown(plan, model, ui);
        }
        return is_tick;
}

void top_plan_look(TopPlan *plan) {
        plan->is_looking = true;
}

void top_plan_act(TopPlan *plan, const TopAction *action) {
        plan->action = *action;
        plan->is_looking = true;
}

bool top_plan_next(TopPlan *plan, uint64_t now_usec, const TopQuestion **ret) {
        TopQuestion *question;

        if (plan->n_due == 0)
                return false;
        question = &plan->asked[plan->n_asked++];
        *question = plan->due[0];
        question->asked_usec = now_usec;
        memmove(&plan->due[0], &plan->due[1], --plan->n_due * sizeof(plan->due[0]));
        *ret = question;
        return true;
}

uint64_t top_plan_next_usec(const TopPlan *plan) {
        uint64_t next = plan->is_looking ? 0 : plan->tick_usec;

        for (size_t i = 0; i < plan->n_asked; i++)
                next = MIN_OF(next, plan->asked[i].asked_usec +
                                            (plan->asked[i].kind == TOP_ASK_PING ? PING_ANSWER_USEC : ANSWER_USEC));
        return next;
}
