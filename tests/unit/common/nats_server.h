/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A real nats-server for a test: on the loopback, on a free port, ended by its own process id. The program is
 * $NATS_SERVER, else nats-server from the path, else where Debian has it, which is in root's path only.
 */

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/instant.h"

typedef struct TestServer {
        pid_t pid;
        int port;
        int held; /* a socket bound to the port and not listening: nobody else is given it while the server is down */
        char directory[64];
        char url[64];
} TestServer;

static inline void server_execute(const TestServer *server, const char *port, const char *config) {
        const char *const arguments[] = { "nats-server", "-a", "127.0.0.1", "-p", port, "--ports_file_dir",
                server->directory, config ? "-c" : NULL, config, NULL };
        const char *program = getenv("NATS_SERVER");
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        (void)execvp(program ? program : "nats-server", (char *const *)arguments);
        if (!program)
                (void)execv("/usr/sbin/nats-server", (char *const *)arguments);
        _exit(127);
}

/* Reads the port from the file that the server writes once it listens; removes it. */
static inline bool server_read_port(TestServer *server) {
        char path[512] = "", text[512] = "", *colon;
        DIR *directory = opendir(server->directory);
        struct dirent *entry;
        FILE *file;

        assert_non_null(directory);
        while ((entry = readdir(directory)))
                if (strstr(entry->d_name, ".ports"))
                        (void)snprintf(path, sizeof(path), "%s/%s", server->directory, entry->d_name);
        (void)closedir(directory);
        file = path[0] != '\0' ? fopen(path, "r") : NULL;
        if (!file)
                return false;
        (void)!fread(text, 1, sizeof(text) - 1, file);
        (void)fclose(file);
        colon = strstr(text, "127.0.0.1:");
        if (!colon || !strchr(text, '}')) /* not fully written */
                return false;
        server->port = atoi(colon + strlen("127.0.0.1:"));
        (void)unlink(path);
        return true;
}

/* A port that stays ours: the server, which sets SO_REUSEADDR, may listen there beside us. */
static inline int server_hold_port(TestServer *server) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);

        server->held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(server->held >= 0);
        assert_int_equal(setsockopt(server->held, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), 0);
        assert_int_equal(bind(server->held, (const struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(getsockname(server->held, (struct sockaddr *)&address, &size), 0);
        return ntohs(address.sin_port);
}

/* `port` 0: a free one. */
static inline void server_start(TestServer *server, int port, const char *config) {
        const uint64_t deadline = instant_now().usec + 20 * USEC_PER_SEC;
        char port_text[16];

        if (server->directory[0] == '\0') {
                (void)snprintf(server->directory, sizeof(server->directory), "/tmp/compozy-test-XXXXXX");
                assert_non_null(mkdtemp(server->directory));
        }
        (void)snprintf(port_text, sizeof(port_text), "%d", port == 0 ? server_hold_port(server) : port);
        server->pid = fork();
        assert_true(server->pid >= 0);
        if (server->pid == 0)
                server_execute(server, port_text, config);
        while (!server_read_port(server)) {
                assert_true(instant_now().usec < deadline);
                assert_int_equal(waitpid(server->pid, NULL, WNOHANG), 0);
                (void)usleep(5000);
        }
        (void)snprintf(server->url, sizeof(server->url), "nats://127.0.0.1:%d", server->port);
}

static inline void server_kill(TestServer *server) {
        if (server->pid <= 0)
                return;
        (void)kill(server->pid, SIGKILL);
        (void)waitpid(server->pid, NULL, 0);
        server->pid = 0;
}

static inline void server_done(TestServer *server) {
        server_kill(server);
        if (server->held > 0)
                (void)close(server->held);
        if (server->directory[0] != '\0') {
                (void)server_read_port(server); /* the file of a server that was killed before it was read */
                (void)rmdir(server->directory);
        }
        *server = (TestServer){ 0 };
}
