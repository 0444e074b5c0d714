/* SPDX-License-Identifier: MIT */

/*
 * The runtime's part of its status page. Bounded: however many agents there are, it shows AGENTS_SHOWN of them, in the
 * order that was asked for: "?sort=attention" (the default: failed ones, then the fullest mailboxes), "queued",
 * "handled", "failed" or "id".
 */

#include "common/page.h"
#include "runtimed/core.h"

#define AGENTS_SHOWN 100

static const PageTone state_tones[_AGENT_STATE_MAX] = {
        [AGENT_CREATED] = TONE_DIM,
        [AGENT_STARTING] = TONE_WARN,
        [AGENT_RUNNING] = TONE_GOOD,
        [AGENT_PAUSED] = TONE_WARN,
        [AGENT_STOPPING] = TONE_WARN,
        [AGENT_STOPPED] = TONE_DIM,
        [AGENT_FAILED] = TONE_BAD,
};

static const struct {
        const char *query, *title;
        AgentOrder order;
} orders[] = {
        { "sort=attention", "Agents, those first that need attention", ORDER_ATTENTION }, /* and for any other query */
        { "sort=queued", "Agents, fullest mailbox first", ORDER_QUEUED },
        { "sort=handled", "Agents, most handled first", ORDER_HANDLED },
        { "sort=failed", "Agents, most failed first", ORDER_FAILED },
        { "sort=id", "Agents, by id", ORDER_ID },
};

static size_t order_of(Slice query) {
        size_t i = ELEMENTSOF(orders);

        while (--i > 0 && !slice_equal(query, slice_of(orders[i].query)))
                ;
        return i;
}

static void write_tiles(
        const Runtime *runtime, const RuntimeRates *rates, const Census *census, Buffer *html, Instant now) {
        const RuntimeLoad load = core_load(runtime);
        const uint64_t n_failed = census->by_state[AGENT_FAILED];

        page_tiles(html);
        page_tile_rate(
                html, "Executions/s", TONE_PLAIN, rates->executions, &runtime->recent, RECENT_EXECUTIONS, now.usec);
        page_tile_rate(html, "Failed/s", rates->failed > 0 ? TONE_BAD : TONE_GOOD, rates->failed, &runtime->recent,
                RECENT_FAILED, now.usec);
        page_tile_rate(html, "Messages/s", TONE_PLAIN, rates->messages, &runtime->recent, RECENT_MESSAGES, now.usec);
        page_tile(html, "In flight", load.free_slots == 0 ? TONE_WARN : TONE_PLAIN, load.in_flight,
                "%s queued, %s slots free", page_show(load.queued).text, page_show(load.free_slots).text);
        page_tile(html, "In mailboxes", census->n_full > 0 ? TONE_BAD : TONE_PLAIN, census->n_mail,
                "%s in the fullest, %s full", page_show(census->n_deepest).text, page_show(census->n_full).text);
        page_tile(html, "Shed", runtime->counters.shed > 0 ? TONE_WARN : TONE_PLAIN, runtime->counters.shed,
                "by full mailboxes");
        page_tile(html, "Agents", n_failed > 0 ? TONE_BAD : TONE_PLAIN, load.agents, "%s running, %s failed",
                page_show(census->by_state[AGENT_RUNNING]).text, page_show(n_failed).text);
        page_tile(html, "Crashes", runtime->counters.crashes > 0 ? TONE_WARN : TONE_PLAIN, runtime->counters.crashes,
                "%s restarts", page_show(runtime->counters.restarts).text);
        page_tiles_end(html);
}

static void write_agents(const Runtime *runtime, Slice query, Buffer *html) {
        static const char *const columns[] = { "agent", "type", "state", ">in its mailbox", ">open", ">handled",
                ">failed", ">shed", ">restarts", "why it failed", NULL };
        const size_t order = order_of(query);
        Agent *shown[AGENTS_SHOWN];
        const size_t n = core_first_agents(runtime, orders[order].order, shown, AGENTS_SHOWN);

        page_table(html, orders[order].title, columns);
        for (size_t i = 0; i < n; i++) {
                const Agent *agent = shown[i];

                page_row(html);
                page_cell(html, agent_id_slice(agent));
                page_cell(html, slice_of(agent->definition->behavior->type));
                page_cell_tone(html, state_tones[agent->state], agent_state_name(agent->state));
                page_cell_bar(html, agent_n_queued(agent), agent->definition->mailbox.capacity);
                page_cell_number(html, agent->n_open + agent->n_deferred);
                page_cell_number(html, agent->n_handled);
                page_cell_count(html, TONE_BAD, agent->n_failed);
                page_cell_count(html, TONE_WARN, agent->n_shed);
                page_cell_count(html, TONE_WARN, core_n_restarts(agent));
                page_cell_long(html, slice_of(agent_rarely(agent)->failure));
        }
        page_table_end(html, n, core_n_agents(runtime) - n, "there are no agents");
        page_links(html, "Agents by", orders[order].query,
                (const char *const[]){
                        "sort=attention", "sort=queued", "sort=handled", "sort=failed", "sort=id", NULL });
}

static void write_latencies(const Runtime *runtime, const RuntimeRates *rates, Buffer *html) {
        page_latencies(html);
        page_latency(html, "From acceptance to the agent", &rates->queue_duration);
        page_latency(html, "From acceptance to the answer", &rates->execution_duration);
        page_latency(html, "Checkpoints, since the start", &runtime->checkpoint_duration);
        page_table_end(html, 3, 0, "");
}

void runtime_page(const Runtime *runtime, PageHead head, Slice query, Buffer *html, Instant now) {
        const RuntimeRates rates = core_rates(runtime, now);
        const Census census = core_census(runtime);

        head.kind = "runtime";
        head.id = runtime->id;
        head.hostname = slice_of(runtime->options.hostname ? runtime->options.hostname : "");
        head.version = runtime->options.version ? runtime->options.version : "";
        head.pid = runtime->options.pid;
        head.uptime_usec = now.usec - runtime->started_usec;
        page_begin(html, &head);
        write_tiles(runtime, &rates, &census, html, now);
        write_agents(runtime, query, html);
        write_latencies(runtime, &rates, html);
}
