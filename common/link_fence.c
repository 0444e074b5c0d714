/* SPDX-License-Identifier: MIT */

/*
 * What nats.c has read for an asynchronous subscription waits in one list for its delivery thread. The limits that
 * nats.c knows are for each subscription: with 100,000 of them they are either so low that a burst on one is dropped,
 * or no limit at all. So there is none, and the list is kept short by reading no more: TCP then slows the server down,
 * as it does for synchronous subscriptions.
 *
 * nats.c does not tell how long its list is. But the end of a subscription goes through it, behind all messages read
 * before, and calls back on the delivery thread (natsSubscription_SetOnCompleteCB). A fence is a subscription that ends
 * as soon as it begins; it costs the server a SUB and an UNSUB, once for some megabytes.
 */

#include "common/link_fence.h"

/* A nats.c thread. */
static void on_passed(void *closure) {
        link_inbox_push_fence((uintptr_t)closure);
}

/* Another subscriber of that subject, for a moment: what comes meanwhile has come through that one already. */
static void on_nothing(natsConnection *connection, natsSubscription *handle, natsMsg *message, void *closure) {
        (void)connection;
        (void)handle;
        (void)closure;

        natsMsg_Destroy(message);
}

int link_fence_init(LinkFence *fence, LinkInbox *inbox, size_t limit) {
        *fence = (LinkFence){ .inbox = inbox, .limit = limit };
        return natsStatistics_Create(&fence->counts) == NATS_OK ? 0 : -ENOMEM;
}

void link_fence_done(LinkFence *fence) {
        natsStatistics_Destroy(fence->counts);
        *fence = (LinkFence){ 0 };
}

void link_fence_restart(LinkFence *fence) {
        fence->sent_at = 0;
        fence->is_over = false;
}

static bool has_passed(const LinkFence *fence) {
        return link_inbox_n_fences(fence->inbox) >= fence->awaited;
}

static uint64_t n_read(const LinkFence *fence, natsConnection *connection) {
        uint64_t n_messages = 0, n_bytes = 0;

        if (natsConnection_GetStats(connection, fence->counts) != NATS_OK ||
                natsStatistics_GetCounts(fence->counts, &n_messages, &n_bytes, NULL, NULL, NULL) != NATS_OK)
                return 0;
        return n_bytes + n_messages * LINK_INBOX_MESSAGE_COST;
}

bool link_fence_is_due(LinkFence *fence, natsConnection *connection) {
        const uint64_t n = n_read(fence, connection);

        if (n < fence->sent_at + fence->limit)
                return false;
        fence->is_over = fence->is_awaited && !has_passed(fence);
        if (fence->is_over)
                return false;
        fence->is_awaited = false;
        fence->sent_at = n;
        return true;
}

void link_fence_send(LinkFence *fence, natsConnection *connection, const char *subject) {
        const uint64_t n = link_inbox_n_fences(fence->inbox);
        void *ticket = (void *)link_inbox_ticket(fence->inbox);
        natsSubscription *handle = NULL;

        if (natsConnection_Subscribe(&handle, connection, subject, on_nothing, NULL) != NATS_OK)
                return;
        fence->is_awaited = natsSubscription_SetOnCompleteCB(handle, on_passed, ticket) == NATS_OK;
        fence->awaited = n + 1;
        natsSubscription_Destroy(handle);
}

bool link_fence_is_open(LinkFence *fence) {
        if (fence->is_over && has_passed(fence))
                link_fence_give_up(fence);
        return !fence->is_over;
}

void link_fence_give_up(LinkFence *fence) {
        fence->is_awaited = fence->is_over = false;
}
