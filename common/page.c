/* SPDX-License-Identifier: MIT */

/*
 * A page for a look at one daemon, when there is nothing but a browser or curl. Drawn on the server because the numbers
 * are here, and a page without scripts can be shown under a policy (in http.c) that lets nothing run, whatever a peer
 * has put into a name. It asks for itself every few seconds.
 */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/page.h"
#include "proto/utf8.h"

#define REFRESH_SECONDS 3
#define NAME_BYTES_MAX 120 /* of a name in a cell; longer ones are cut */
#define SENTENCE_BYTES_MAX 400
#define SPARK_SECONDS 60

static const char style[] =
        ":root{color-scheme:light "
        "dark;--bg:#f6f7f9;--card:#fff;--line:#dfe3e8;--text:#1c2430;--dim:#667080;--good:#1a7f4b;"
        "--warn:#a15c00;--bad:#c02b2b;--accent:#3565d8;--soft:#e6ecfa}"
        "@media(prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1b212a;--line:#2c3541;--text:#e4e9f0;--dim:#"
        "93a0b2;"
        "--good:#4cc88a;--warn:#e8a33d;--bad:#f07171;--accent:#7da2ff;--soft:#263150}}"
        "*{box-sizing:border-box}"
        "body{margin:0;background:var(--bg);color:var(--text);font:15px/1.45 system-ui,sans-serif}"
        "header,main,footer{max-width:80rem;margin:0 auto;padding:0 1.25rem}"
        "header{padding-top:1.25rem;display:flex;flex-wrap:wrap;gap:.4rem .9rem;align-items:baseline}"
        "h1{font-size:1.35rem;margin:0;overflow-wrap:anywhere}h1 small{font-weight:400;color:var(--dim)}"
        "h2{font-size:.95rem;margin:1.6rem 0 .5rem}"
        ".dim{color:var(--dim)}.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}"
        ".pill{border:1px solid currentColor;border-radius:1rem;padding:.05rem .6rem;font-size:.85rem;font-weight:600;"
        "white-space:nowrap}"
        ".about{flex-basis:100%;color:var(--dim);margin:0;overflow-wrap:anywhere}"
        ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.7rem;margin:1rem 0 "
        "0;padding:0}"
        ".tiles>div{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.6rem .8rem;"
        "display:flex;flex-direction:column;min-height:6.3rem}"
        ".tiles dt{color:var(--dim);font-size:.8rem}.tiles dd{margin:0}"
        ".tiles .value{font-size:1.6rem;font-weight:600;font-variant-numeric:tabular-nums;line-height:1.25}"
        ".tiles .note{color:var(--dim);font-size:.75rem;margin-top:auto}"
        "section{min-width:0}.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(24rem,100%),1fr));gap:"
        "0 1.2rem}"
        "svg{display:block;width:100%;height:1.6rem;margin-top:auto}polygon{fill:var(--soft)}"
        "polyline{fill:none;stroke:var(--accent);stroke-width:1.5;vector-effect:non-scaling-stroke}"
        ".scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.6rem}"
        "table{border-collapse:collapse;width:100%;font-size:.9rem}"
        "th,td{text-align:left;padding:.35rem .8rem;border-top:1px solid var(--line);white-space:nowrap}"
        "thead th{border-top:0;color:var(--dim);font-weight:500;font-size:.8rem}"
        ".num{text-align:right;font-variant-numeric:tabular-nums}"
        "td bdi{display:inline-block;max-width:22rem;overflow:hidden;text-overflow:ellipsis;vertical-align:bottom}"
        ".long{white-space:normal;min-width:16rem}td.long bdi{max-width:none}"
        "meter{width:5rem;height:.7rem;margin-left:.5rem;vertical-align:middle}"
        ".more{color:var(--dim);font-size:.85rem;margin:.4rem .1rem 0}"
        "footer{color:var(--dim);font-size:.85rem;padding-top:1.4rem;padding-bottom:2rem}a{color:var(--accent)}"
        "@media(max-width:44rem){th,td{padding:.35rem .5rem}"
        "header,main,footer{padding-left:.8rem;padding-right:.8rem}}";

static const char *const tone_names[_TONE_MAX] = {
        [TONE_PLAIN] = "",
        [TONE_DIM] = "dim",
        [TONE_GOOD] = "good",
        [TONE_WARN] = "warn",
        [TONE_BAD] = "bad",
};

/* text and numbers */

static void append(Buffer *buffer, const char *html) {
        buffer_append_slice(buffer, slice_of(html));
}

static void append_escaped(Buffer *buffer, const char *at, size_t size) {
        switch (*at) {
        case '<':
                append(buffer, "&lt;");
                break;
        case '>':
                append(buffer, "&gt;");
                break;
        case '&':
                append(buffer, "&amp;");
                break;
        case '"':
                append(buffer, "&quot;");
                break;
        case '\'':
                append(buffer, "&#39;");
                break;
        default:
                buffer_append(buffer, at, size);
        }
}

void page_text(Buffer *buffer, Slice text) {
        const char *at = text.data, *end = text.size > 0 ? text.data + text.size : text.data;

        while (at < end) {
                size_t size = utf8_size(at, end);

                if (size == 0 || utf8_is_control(at, size))
                        append(buffer, "\xef\xbf\xbd");
                else
                        append_escaped(buffer, at, size);
                at += size > 0 ? size : 1;
        }
}

/* The same, cut: a peer may have sent a whole message of it. */
static void append_cut(Buffer *buffer, Slice text, size_t bytes_max) {
        size_t size = text.size;

        if (size > bytes_max) {
                size = bytes_max;
                while (size > 0 && ((unsigned char)text.data[size] & 0xc0) == 0x80)
                        size--;
        }
        append(buffer, "<bdi>");
        page_text(buffer, (Slice){ text.data, size });
        append(buffer, size < text.size ? "…</bdi>" : "</bdi>");
}

static void append_name(Buffer *buffer, Slice text) {
        append_cut(buffer, text, NAME_BYTES_MAX);
}

PageNumber page_show(uint64_t value) {
        _cleanup_(buffer_done) Buffer buffer = {};
        PageNumber ret = {};

        page_number(&buffer, value);
        (void)snprintf(ret.text, sizeof(ret.text), "%.*s", SLICE_ARG(buffer_slice(&buffer)));
        return ret;
}

void page_number(Buffer *buffer, uint64_t value) {
        char digits[24];
        const int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);

        for (int i = 0; i < n; i++) {
                if (i > 0 && (n - i) % 3 == 0)
                        buffer_append_char(buffer, ',');
                buffer_append_char(buffer, digits[i]);
        }
}

void page_rate(Buffer *buffer, double per_second) {
        if (per_second >= 99.95)
                page_number(buffer, (uint64_t)llround(per_second));
        else if (per_second > 0 && per_second < 0.05)
                append(buffer, "&lt;0.1");
        else
                buffer_printf(buffer, "%.1f", per_second);
}

void page_duration(Buffer *buffer, double usec) {
        static const struct {
                double usec, from; /* the unit, and from where on it is used */
                const char *name;
        } units[] = { { 86400e6, 86400e6, "d" }, { 3600e6, 3600e6, "h" }, { 60e6, 120e6, "min" }, { 1e6, 999.5e3, "s" },
                { 1e3, 999.5, "ms" }, { 1, 0, "µs" } };
        size_t i = 0;

        while (usec < units[i].from)
                i++;
        if (i < 2) {
                const double rest = fmod(usec, units[i].usec) / units[i + 1].usec;

                buffer_printf(buffer, "%.0f %s %.0f %s", floor(usec / units[i].usec), units[i].name, floor(rest),
                        units[i + 1].name);
        } else {
                const double value = usec / units[i].usec;

                buffer_printf(buffer, "%.*f %s", value < 9.95 && usec > 0 && i < 5 ? 1 : 0, value, units[i].name);
        }
}

void page_bytes(Buffer *buffer, uint64_t bytes) {
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
        double value = (double)bytes;
        size_t i = 0;

        for (; value >= 1000 && i + 1 < ELEMENTSOF(units); i++)
                value /= 1024;
        buffer_printf(buffer, "%.*f %s", i > 0 && value < 99.95 ? 1 : 0, value, units[i]);
}

/* the whole */

void page_begin(Buffer *buffer, const PageHead *head) {
        buffer_printf(buffer,
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                "<meta name=\"color-scheme\" content=\"light dark\"><meta http-equiv=\"refresh\" "
                "content=\"%d\"><title>",
                REFRESH_SECONDS);
        page_text(buffer, head->id);
        buffer_printf(buffer, " · Compozy %s</title><style>", head->kind);
        append(buffer, style);
        append(buffer, "</style></head>\n<body><header><h1>");
        append_name(buffer, head->id);
        buffer_printf(buffer, " <small>Compozy %s</small></h1><span id=\"state\" class=\"pill %s\">%s</span>",
                head->kind, head->is_ready ? "good" : "bad", head->is_ready ? "ready" : "not ready");
        append(buffer, "<span class=\"dim\">");
        page_text(buffer, head->reason);
        append(buffer, "</span><p class=\"about\">on ");
        append_name(buffer, head->hostname);
        buffer_printf(buffer, " · process %llu · version %s · up for ", (unsigned long long)head->pid, head->version);
        page_duration(buffer, (double)head->uptime_usec);
        append(buffer, " · NATS at ");
        append_name(buffer, slice_of(head->url));
        append(buffer, "</p></header>\n<main>\n");
}

void page_end(Buffer *buffer) {
        append(buffer, "</main>\n<footer>Rates and latencies are those of the last ten seconds. "
                       "<a href=\"/metrics\">/metrics</a> · <a href=\"/healthz\">/healthz</a> · "
                       "<a href=\"/readyz\">/readyz</a></footer></body></html>\n");
}

/* tiles */

void page_tiles(Buffer *buffer) {
        append(buffer, "<dl class=\"tiles\">\n");
}

static void begin_tile(Buffer *buffer, const char *label, PageTone tone) {
        append(buffer, "<div><dt>");
        page_text(buffer, slice_of(label));
        buffer_printf(buffer, "</dt><dd class=\"value %s\">", tone_names[tone]);
}

void page_tile(Buffer *buffer, const char *label, PageTone tone, uint64_t value, const char *note, ...) {
        char text[160];
        va_list arguments;

        va_start(arguments, note);
        (void)vsnprintf(text, sizeof(text), note, arguments);
        va_end(arguments);

        begin_tile(buffer, label, tone);
        page_number(buffer, value);
        append(buffer, "</dd><dd class=\"note\">");
        page_text(buffer, slice_of(text));
        append(buffer, "</dd></div>\n");
}

typedef struct Steps {
        double from[RECENT_SAMPLES], to[RECENT_SAMPLES], rate[RECENT_SAMPLES], most;
        size_t n;
} Steps;

/* One per sample of the last SPARK_SECONDS, oldest first. */
static void collect_steps(const Recent *recent, size_t counter, uint64_t now_usec, Steps *ret) {
        ret->n = 0;
        ret->most = 1; /* less than one a second is drawn as little */
        for (size_t i = recent->n; i-- > 1;) {
                double from, to;
                const double rate = recent_step(recent, i - 1, counter, now_usec, &from, &to);

                if (to <= -SPARK_SECONDS)
                        continue;
                ret->from[ret->n] = MAX_OF(from, -(double)SPARK_SECONDS) + SPARK_SECONDS;
                ret->to[ret->n] = to + SPARK_SECONDS;
                ret->rate[ret->n] = rate;
                ret->most = MAX_OF(ret->most, rate);
                ret->n++;
        }
}

static void append_steps(Buffer *buffer, const Steps *steps) {
        for (size_t i = 0; i < steps->n; i++) {
                const double y = 19 - 18 * steps->rate[i] / steps->most;

                buffer_printf(buffer, "%.1f,%.1f %.1f,%.1f ", steps->from[i], y, steps->to[i], y);
        }
}

/* A picture of SPARK_SECONDS by 20: the area below the steps, then their line. */
static void append_spark(Buffer *buffer, const Recent *recent, size_t counter, uint64_t now_usec) {
        Steps steps;

        collect_steps(recent, counter, now_usec, &steps);
        buffer_printf(buffer,
                "<svg viewBox=\"0 0 %d 20\" preserveAspectRatio=\"none\" role=\"img\" "
                "aria-label=\"the last minute\">",
                SPARK_SECONDS);
        if (steps.n > 0) {
                buffer_printf(buffer, "<polygon points=\"%.1f,20 ", steps.from[0]);
                append_steps(buffer, &steps);
                buffer_printf(buffer, "%.1f,20\"/><polyline points=\"", steps.to[steps.n - 1]);
                append_steps(buffer, &steps);
                append(buffer, "\"/>");
        }
        append(buffer, "</svg>");
}

void page_tile_rate(Buffer *buffer, const char *label, PageTone tone, double per_second, const Recent *recent,
        size_t counter, uint64_t now_usec) {
        begin_tile(buffer, label, tone);
        page_rate(buffer, per_second);
        append(buffer, "</dd>");
        append_spark(buffer, recent, counter, now_usec);
        append(buffer, "</div>\n");
}

void page_tiles_end(Buffer *buffer) {
        append(buffer, "</dl>\n");
}

/* tables */

void page_table(Buffer *buffer, const char *title, const char *const *columns) {
        append(buffer, "<h2>");
        page_text(buffer, slice_of(title));
        append(buffer, "</h2><div class=\"scroll\"><table><thead><tr>");
        for (; *columns; columns++) {
                const char *name = *columns;
                const bool is_number = *name == '>';

                name += is_number;
                append(buffer, is_number ? "<th class=\"num\">" : "<th>");
                page_text(buffer, slice_of(name));
                append(buffer, "</th>");
        }
        append(buffer, "</tr></thead><tbody>\n");
}

void page_row(Buffer *buffer) {
        append(buffer, "<tr>"); /* HTML lets the end of a row be told by the beginning of the next */
}

void page_cell(Buffer *buffer, Slice text) {
        append(buffer, "<td>");
        append_name(buffer, text);
        append(buffer, "</td>");
}

void page_cell_long(Buffer *buffer, Slice text) {
        append(buffer, "<td class=\"long\">");
        append_cut(buffer, text, SENTENCE_BYTES_MAX);
        append(buffer, "</td>");
}

void page_cell_tone(Buffer *buffer, PageTone tone, const char *text) {
        buffer_printf(buffer, "<td class=\"%s\">", tone_names[tone]);
        page_text(buffer, slice_of(text));
        append(buffer, "</td>");
}

void page_cell_number(Buffer *buffer, uint64_t value) {
        page_cell_count(buffer, TONE_PLAIN, value);
}

void page_cell_count(Buffer *buffer, PageTone tone, uint64_t value) {
        buffer_printf(buffer, "<td class=\"num %s\">", value > 0 ? tone_names[tone] : "dim");
        page_number(buffer, value);
        append(buffer, "</td>");
}

void page_cell_duration(Buffer *buffer, double usec) {
        append(buffer, "<td class=\"num\">");
        page_duration(buffer, usec);
        append(buffer, "</td>");
}

void page_cell_bar(Buffer *buffer, uint64_t value, uint64_t of) {
        append(buffer, "<td class=\"num\">");
        page_number(buffer, value);
        append(buffer, " <span class=\"dim\">of ");
        page_number(buffer, of);
        buffer_printf(buffer,
                "</span><meter min=\"0\" max=\"%llu\" low=\"%llu\" high=\"%llu\" optimum=\"0\" "
                "value=\"%llu\"></meter></td>",
                (unsigned long long)MAX_OF(of, UINT64_C(1)), (unsigned long long)(of - of / 4),
                (unsigned long long)(of - of / 20), (unsigned long long)MIN_OF(value, of));
}

void page_table_end(Buffer *buffer, size_t n_rows, size_t n_more, const char *empty) {
        if (n_rows == 0) {
                append(buffer, "<tr><td class=\"dim\">");
                page_text(buffer, slice_of(empty));
                append(buffer, "</td>");
        }
        append(buffer, "</tbody></table></div>\n");
        if (n_more > 0) {
                append(buffer, "<p class=\"more\">and ");
                page_number(buffer, n_more);
                append(buffer, " more</p>\n");
        }
}

void page_pair(Buffer *buffer) {
        append(buffer, "<div class=\"pair\"><section>\n");
}

void page_pair_next(Buffer *buffer) {
        append(buffer, "</section><section>\n");
}

void page_pair_end(Buffer *buffer) {
        append(buffer, "</section></div>\n");
}

void page_links(Buffer *buffer, const char *label, const char *query, const char *const *queries) {
        append(buffer, "<p class=\"more\">");
        page_text(buffer, slice_of(label));
        for (; *queries; queries++) {
                const char *value = strchr(*queries, '=');
                const bool is_this = strcmp(*queries, query) == 0;

                if (is_this)
                        append(buffer, " <b>");
                else
                        buffer_printf(buffer, " <a href=\"/?%s\">", *queries);
                page_text(buffer, slice_of(value ? value + 1 : *queries));
                append(buffer, is_this ? "</b>" : "</a>");
        }
        append(buffer, "</p>\n");
}

void page_latencies(Buffer *buffer) {
        static const char *const columns[] = { "", ">half within", ">95 % within", ">99 % within", ">of", NULL };

        page_table(buffer, "How long it takes", columns);
}

void page_latency(Buffer *buffer, const char *what, const Histogram *histogram) {
        static const double wanted[] = { 0.5, 0.95, 0.99 };

        page_row(buffer);
        page_cell(buffer, slice_of(what));
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                if (histogram->count > 0)
                        page_cell_duration(buffer, histogram_quantile(histogram, wanted[i]));
                else
                        append(buffer, "<td class=\"num dim\">–</td>");
        page_cell_number(buffer, histogram->count);
}

void page_link(Buffer *buffer, const NatsLink *link, const char *url) {
        static const char *const columns[] = { "server", "", ">unsent", ">messages in", ">out", ">bytes in", ">out",
                ">reconnects", ">dropped", ">refused", NULL };
        NatsLinkStats stats;
        const bool is_up = nats_link_is_up(link);

        nats_link_stats(link, &stats);
        page_table(buffer, "Connection to NATS", columns);
        page_row(buffer);
        page_cell(buffer, slice_of(url));
        page_cell_tone(buffer, is_up ? TONE_GOOD : TONE_BAD, is_up ? "connected" : "not connected");
        append(buffer, "<td class=\"num\">");
        page_bytes(buffer, stats.pending_bytes);
        append(buffer, "</td>");
        page_cell_number(buffer, stats.in_messages);
        page_cell_number(buffer, stats.out_messages);
        append(buffer, "<td class=\"num\">");
        page_bytes(buffer, stats.in_bytes);
        append(buffer, "</td><td class=\"num\">");
        page_bytes(buffer, stats.out_bytes);
        append(buffer, "</td>");
        page_cell_count(buffer, TONE_WARN, stats.reconnects);
        page_cell_count(buffer, TONE_BAD, stats.dropped_messages);
        page_cell_count(buffer, TONE_BAD, stats.refused_messages);
        page_table_end(buffer, 1, 0, "");
}
