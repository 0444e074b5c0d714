/* SPDX-License-Identifier: MIT */

/*
 * bench_hop: the bare relay and the bare responder.
 *
 *     bench_hop URL SUBJECT        answers every message with its own body
 *     bench_hop URL SUBJECT TO     publishes it again to TO, with the caller's reply subject
 *
 * Says "ready" on stdout once the server knows its subscription; runs until it is ended by a signal.
 */

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "tests/bench/peer.h"

typedef struct Hop {
        Peer *peer;
        const char *to; /* NULL: responder */
} Hop;

static void on_message(natsMsg *msg, void *userdata) {
        const Hop *hop = userdata;
        const char *reply = natsMsg_GetReply(msg);

        if (!reply)
                return;
        peer_publish(hop->peer, hop->to ? hop->to : reply, hop->to ? reply : NULL, natsMsg_GetData(msg),
                (size_t)natsMsg_GetDataLength(msg));
}

int main(int argc, char **argv) {
        _cleanup_(peer_freep) Peer *peer = NULL;
        Hop hop = { .to = argc > 3 ? argv[3] : NULL };

        if (argc < 3)
                peer_fail("usage: bench_hop URL SUBJECT [TO]");

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing is left behind when the driver is killed */
        hop.peer = peer = peer_new(argv[1], hop.to ? "bench-relay" : "bench-responder");
        peer_subscribe(peer, argv[2], on_message, &hop);
        peer_settle(peer);
        (void)puts("ready");
        (void)fflush(stdout);
        peer_run(peer);
        return 0;
}
