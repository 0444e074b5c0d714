/* SPDX-License-Identifier: MIT */

#include "common/link_metrics.h"
#include "common/metrics.h"

void link_metrics(Buffer *buffer, const NatsLink *link) {
        NatsLinkStats stats;

        nats_link_stats(link, &stats);
        metrics_gauge_value(buffer, "compozy_nats_up", "1 while connected to NATS", nats_link_is_up(link));
        metrics_gauge_value(
                buffer, "compozy_nats_pending_bytes", "Bytes written for NATS and not sent", stats.pending_bytes);
        metrics_gauge_value(buffer, "compozy_nats_pending_bytes_limit",
                "nats.pending_bytes_max: beyond it no new work is taken", stats.pending_bytes_max);
        metrics_counter_value(buffer, "compozy_nats_in_messages_total", "Messages received", stats.in_messages);
        metrics_counter_value(buffer, "compozy_nats_in_bytes_total", "Bytes of messages received", stats.in_bytes);
        metrics_counter_value(buffer, "compozy_nats_out_messages_total", "Messages published", stats.out_messages);
        metrics_counter_value(buffer, "compozy_nats_out_bytes_total", "Bytes of messages published", stats.out_bytes);
        metrics_counter_value(
                buffer, "compozy_nats_reconnects_total", "Times the connection came back", stats.reconnects);
        metrics_counter_value(buffer, "compozy_nats_dropped_messages_total",
                "Messages received and dropped, for want of room", stats.dropped_messages);
        metrics_counter_value(buffer, "compozy_nats_refused_messages_total", "Messages that could not be published",
                stats.refused_messages);
}
