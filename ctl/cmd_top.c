/* SPDX-License-Identifier: MIT */

/*
 * The edge of `top`: sends what the plan (ctl/top_plan.h) asks, hands it the answers, and draws. One thread of ours;
 * while answers are awaited it waits for them and looks at the keyboard every WAIT_MSEC, else the other way round.
 */

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "ctl/fields.h"
#include "ctl/top_plan.h"
#include "ctl/top_print.h"
#include "ctl/top_view.h"

#define WAIT_MSEC 15
#define DRAW_USEC (50 * USEC_PER_MSEC) /* not drawn more often than this, but for keys */
#define MESSAGES_MAX 64                /* in one go */

typedef struct Options {
        uint64_t interval_usec, iterations;
} Options;

static const Option options[] = {
        { .name = "interval",
                .letter = 'i',
                .kind = OPTION_DURATION,
                .offset = offsetof(Options, interval_usec),
                .value = "DURATION",
                .help = "How often to ask",
                .fallback = "1s",
                .min = 200 * USEC_PER_MSEC,
                .max = 3600 * USEC_PER_SEC },
        { .name = "iterations",
                .letter = 'n',
                .kind = OPTION_NUMBER,
                .offset = offsetof(Options, iterations),
                .value = "N",
                .help = "Print so many times instead of drawing a screen; 0: once, where there is no terminal",
                .fallback = "0",
                .max = 1000000000 },
        {},
};

typedef struct Top {
        Ctl *ctl;
        const Options *wanted;
        natsConnection *connection;
        natsSubscription *subscription;
        char inbox[512];
        TopModel model;
        TopUi ui;
        TopPlan plan;
        TopHead head;
        uint64_t lost_usec;
} Top;

/* NATS */

static CtlExit open_inbox(Top *top) {
        char pattern[sizeof(top->inbox) + 4];
        natsStatus s;

        top->connection = client_connection(top->ctl->client);
        client_inbox(top->ctl->client, top->inbox, sizeof(top->inbox));
        (void)snprintf(pattern, sizeof(pattern), "%s.*", top->inbox);
        s = natsConnection_SubscribeSync(&top->subscription, top->connection, pattern);
        if (s != NATS_OK)
                return ctl_fail(
                        top->ctl, CTL_EXIT_FAILURE, "can't subscribe to %s: %s", pattern, natsStatus_GetText(s));
        return CTL_EXIT_OK;
}

/* What can't be sent is not answered, and given up like everything that is not. */
static void send_question(Top *top, const TopQuestion *question) {
        const Peer peer = { question->peer, question->id };
        char subject[512] = "$SRV.PING.compozy-dispatcher", reply[sizeof(top->inbox) + 24];

        (void)snprintf(reply, sizeof(reply), "%s.%llu", top->inbox, (unsigned long long)question->token);
        if (question->kind == TOP_ASK_PING ||
                client_subject(top->ctl->client, peer, question->verb, subject, sizeof(subject)) == 0)
                (void)natsConnection_PublishRequestString(
                        top->connection, subject, reply, question->kind == TOP_ASK_PING ? "" : question->body);
}

static void take_message(Top *top, natsMsg *msg, uint64_t now_usec) {
        const char *subject = natsMsg_GetSubject(msg), *dot = strrchr(subject, '.');
        const uint64_t token = dot ? strtoull(dot + 1, NULL, 10) : 0;

        if (natsMsg_IsNoResponders(msg))
                top_plan_answer(&top->plan, &top->model, &top->ui, token, NULL, 0, now_usec);
        else
                top_plan_answer(&top->plan, &top->model, &top->ui, token, natsMsg_GetData(msg),
                        (size_t)natsMsg_GetDataLength(msg), now_usec);
        natsMsg_Destroy(msg);
}

/* Waits up to `timeout_msec` for the first message; returns whether there was any. */
static bool take_messages(Top *top, int64_t timeout_msec) {
        natsMsg *msg = NULL;
        int n = 0;

        while (n < MESSAGES_MAX &&
                natsSubscription_NextMsg(&msg, top->subscription, n == 0 ? timeout_msec : 0) == NATS_OK) {
                take_message(top, msg, instant_now().usec);
                n++;
        }
        return n > 0;
}

/* Returns whether an interval has passed. */
static bool ask(Top *top) {
        const uint64_t now_usec = instant_now().usec;
        const bool is_connected = natsConnection_Status(top->connection) == NATS_CONN_STATUS_CONNECTED;
        const bool is_tick = top_plan_turn(&top->plan, &top->model, &top->ui, is_connected, now_usec);
        const TopQuestion *question;
        bool any = false;

        if (is_connected)
                top->lost_usec = 0;
        else if (top->lost_usec == 0)
                top->lost_usec = now_usec;
        top->head.is_connected = is_connected;
        while (top_plan_next(&top->plan, now_usec, &question)) {
                send_question(top, question);
                any = true;
        }
        if (any)
                (void)natsConnection_FlushTimeout(
                        top->connection, 1); /* out with them; whether they arrive is no matter */
        return is_tick;
}

static bool is_waiting(const Top *top) {
        for (size_t i = 0; i < top->plan.n_asked; i++)
                if (top->plan.asked[i].kind != TOP_ASK_PING)
                        return true;
        return top->plan.sweep.is_running || top->plan.n_due > 0;
}

/* without a terminal */

static CtlExit print(Top *top) {
        const char *url = client_shown_url(top->ctl->client);
        CtlExit status = CTL_EXIT_OK;
        json_t *value;

        if (top->ctl->global.json) {
                value = top_print_json(url, &top->model);
                status = ctl_print_json(top->ctl, value);
                json_decref(value);
        } else if (top_print_text(&top->ctl->screen, url, &top->model, stdout) < 0) {
                status = ctl_fail(top->ctl, CTL_EXIT_FAILURE, "out of memory");
        }
        (void)fflush(stdout);
        return status;
}

/* Rates need two answers, so that the first print comes after an interval. */
static CtlExit print_some(Top *top) {
        const uint64_t wanted = MAX_OF(top->wanted->iterations, 1);
        uint64_t n_ticks = 0, n_printed = 0, give_up_usec = 0;
        CtlExit status = ctl_ask(top->ctl, ANY_DISPATCHER, "status", NULL, NULL); /* says who is missing */

        while (status == CTL_EXIT_OK && n_printed < wanted && !ferror(stdout)) {
                if (ctl_is_interrupted())
                        return CTL_EXIT_INTERRUPTED;
                if (ask(top)) {
                        n_ticks++;
                        give_up_usec = instant_now().usec + MIN_OF(top->wanted->interval_usec, USEC_PER_SEC) / 2;
                }
                (void)take_messages(top, WAIT_MSEC);
                if (n_ticks < n_printed + 2 || (is_waiting(top) && instant_now().usec < give_up_usec))
                        continue;
                if (n_printed++ > 0 && !top->ctl->global.json)
                        (void)putchar('\n');
                status = print(top);
        }
        return status;
}

/* on a terminal */

static void draw(Top *top) {
        const time_t now = time(NULL);
        struct tm broken;

        if (localtime_r(&now, &broken))
                (void)strftime(top->head.clock, sizeof(top->head.clock), "%H:%M:%S", &broken);
        top->head.lost_usec = top->lost_usec > 0 ? instant_now().usec - top->lost_usec : 0;
        top->head.n_watched = top->model.n_runtimes > TOP_WATCHED_MAX ? TOP_WATCHED_MAX : 0;
        (void)top_ui_refresh(&top->ui, &top->model);
        top_view_draw(&top->head, &top->model, &top->ui);
}

/* Returns false when the person wants to go; *ret_any: a key was pressed. */
static bool take_keys(Top *top, bool *ret_any) {
        int key;

        while ((key = top_view_key()) >= 0) {
                TopAction action;

                (void)top_ui_refresh(&top->ui, &top->model);
                action = top_ui_key(&top->ui, &top->model, key);
                *ret_any = true;
                if (action.kind == TOP_ACTION_QUIT)
                        return false;
                if (action.kind != TOP_ACTION_NONE)
                        top_plan_act(&top->plan, &action);
                else if (key == TOP_KEY_ENTER || key == TOP_KEY_TAB || (key >= '1' && key <= '3') || key == '<' ||
                         key == '>' || key == 's')
                        top_plan_look(&top->plan);
        }
        return true;
}

/* Ctrl-Z and `fg`. They come while ppoll() waits and nowhere else. */

static volatile sig_atomic_t told_to_stop, told_to_go_on;

static void on_job_control(int signal_number) {
        if (signal_number == SIGTSTP)
                told_to_stop = 1;
        else
                told_to_go_on = 1;
}

static void set_job_control(sigset_t *ret_waiting) {
        const struct sigaction action = { .sa_handler = on_job_control };
        sigset_t both;

        (void)sigemptyset(&both);
        (void)sigaddset(&both, SIGTSTP);
        (void)sigaddset(&both, SIGCONT);
        (void)pthread_sigmask(SIG_BLOCK, &both, ret_waiting);
        (void)sigaction(SIGTSTP, &action, NULL);
        (void)sigaction(SIGCONT, &action, NULL);
}

/* Returns once we are continued; at once where nobody could: no shell is there. */
static void stop_for_now(const sigset_t *waiting) {
        struct sigaction ours, plain = { .sa_handler = SIG_DFL };
        sigset_t both;

        top_view_lend();
        (void)sigaction(SIGTSTP, &plain, &ours);
        (void)raise(SIGTSTP);
        (void)pthread_sigmask(SIG_SETMASK, waiting, &both); /* here */
        (void)pthread_sigmask(SIG_SETMASK, &both, NULL);
        (void)sigaction(SIGTSTP, &ours, NULL);
}

/* Returns whether the screen is to be drawn anew. */
static bool obey_job_control(const sigset_t *waiting) {
        if (told_to_stop)
                stop_for_now(waiting);
        else if (!told_to_go_on)
                return false;
        told_to_stop = told_to_go_on = 0;
        top_view_take_again();
        return true;
}

static void wait_for_keys(struct pollfd *keyboard, uint64_t usec, const sigset_t *waiting) {
        const struct timespec span = { (time_t)(usec / USEC_PER_SEC), (long)(usec % USEC_PER_SEC * 1000) };

        if (ppoll(keyboard, 1, &span, waiting) < 0)
                keyboard->revents = 0;
}

static void run_screen(Top *top) {
        uint64_t drawn_usec = 0;
        bool is_stale = true;
        sigset_t waiting;

        set_job_control(&waiting);
        while (!ctl_is_interrupted()) {
                struct pollfd keyboard = { .fd = STDIN_FILENO, .events = POLLIN };
                uint64_t now_usec, next_usec;
                bool is_wanted = false;

                is_stale |= ask(top);
                now_usec = instant_now().usec;
                next_usec = is_stale ? drawn_usec + DRAW_USEC
                                     : MIN_OF(top_plan_next_usec(&top->plan), now_usec + USEC_PER_SEC);
                if (top->plan.n_asked > 0)
                        is_stale |= take_messages(top, WAIT_MSEC);
                wait_for_keys(&keyboard, top->plan.n_asked > 0 ? 0 : next_usec - MIN_OF(now_usec, next_usec), &waiting);
                is_wanted = obey_job_control(&waiting);
                if (keyboard.revents & (POLLHUP | POLLERR | POLLNVAL)) /* the terminal is gone */
                        return;
                if (!take_keys(top, &is_wanted))
                        return;
                now_usec = instant_now().usec;
                if (is_wanted || (is_stale && now_usec - drawn_usec >= DRAW_USEC)) {
                        draw(top);
                        drawn_usec = now_usec;
                        is_stale = false;
                }
        }
}

static CtlExit show_screen(Top *top) {
        char why[256];

        if (top_view_start(&top->ctl->screen, why, sizeof(why)) < 0)
                return ctl_fail(top->ctl, CTL_EXIT_FAILURE, "%s", why);
        run_screen(top);
        top_view_stop();
        return CTL_EXIT_OK;
}

/* Signals are for the thread that draws: nats.c's would leave it asleep. */
static CtlExit connect_without_signals(Ctl *ctl) {
        sigset_t ours, before;
        CtlExit status;

        (void)sigemptyset(&ours);
        (void)sigaddset(&ours, SIGWINCH);
        (void)sigaddset(&ours, SIGINT);
        (void)sigaddset(&ours, SIGTERM);
        (void)sigaddset(&ours, SIGTSTP);
        (void)sigaddset(&ours, SIGCONT);
        (void)pthread_sigmask(SIG_BLOCK, &ours, &before);
        status = ctl_connect(ctl);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        return status;
}

static CtlExit run(Ctl *ctl, const Invocation *invocation) {
        const Options *wanted = invocation->options;
        const bool has_screen =
                ctl->screen.is_terminal && isatty(STDIN_FILENO) && !ctl->global.json && wanted->iterations == 0;
        CtlExit status = connect_without_signals(ctl);
        Top *top;

        if (status != CTL_EXIT_OK)
                return status;
        top = calloc(1, sizeof(*top));
        if (!top)
                return ctl_fail(ctl, CTL_EXIT_FAILURE, "out of memory");
        top->ctl = ctl;
        top->wanted = wanted;
        top->head = (TopHead){
                .url = client_shown_url(ctl->client),
                .context = ctl->settings.context,
                .interval_usec = wanted->interval_usec,
        };
        top_model_init(&top->model);
        top_ui_init(&top->ui);
        top_plan_init(&top->plan, wanted->interval_usec);
        ctl_catch_interrupts();
        status = open_inbox(top);
        if (status == CTL_EXIT_OK)
                status = has_screen ? show_screen(top) : print_some(top);
        client_unsubscribe(ctl->client, top->subscription);
        top_ui_done(&top->ui);
        top_model_done(&top->model);
        free(top);
        return status;
}

const Command command_top = {
        .name = "top",
        .summary = "A live screen of dispatchers, runtimes, agents, rates and latencies",
        .details = "Looks into a runtime, an agent or a dispatcher with Enter, sorts with < and >, filters with /, "
                   "drains and\n"
                   "resumes the selected runtime with d and r, pauses and resumes an agent with p; ? lists all keys.\n"
                   "\n"
                   "Without a terminal, or with --json or --iterations, it prints what it would show.",
        .example = "  compozyctl top\n"
                   "  compozyctl top --json | jq .totals",
        .options = options,
        .options_size = sizeof(Options),
        .run = run,
};
