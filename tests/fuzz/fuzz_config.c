/* SPDX-License-Identifier: MIT */

/* The configuration file: it is taken, and every text is there, or it is refused with a reason, and nothing is left. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/daemon_keys.h"

typedef struct Settings {
        DaemonSettings daemon;
        char *id, *labels;
        double factor;
        bool on;
} Settings;

static const ConfigKey keys[] = {
        DAEMON_KEYS(Settings, daemon),
        DAEMON_KEY("runtime", "id", CONFIG_ID, Settings, id, "", "Id"),
        DAEMON_KEY("runtime", "labels", CONFIG_LABELS, Settings, labels, "", "Labels"),
        DAEMON_KEY("liveness", "dead_after", CONFIG_REAL, Settings, factor, "5", "Factor", .min = 1, .max = 1000),
        DAEMON_KEY("liveness", "on", CONFIG_BOOL, Settings, on, "no", "Switch"),
};

static const ConfigTable table = { keys, ELEMENTSOF(keys) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const int fd = memfd_create("config", MFD_CLOEXEC);
        Settings settings = { 0 };
        ConfigError error;
        char path[64];
        int r;

        if (fd < 0 || write(fd, data, size) != (ssize_t)size)
                abort();
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = config_load(&table, path, NULL, 0, &settings, &error);
        (void)close(fd);

        if (r != 0 && (r != CONFIG_E_INVALID || error.text[0] == '\0' || settings.daemon.url || settings.labels))
                abort();
        if (r == 0 && (!settings.daemon.url || !settings.daemon.http_listen || !settings.id || !settings.labels ||
                              settings.factor < 1 || settings.daemon.log_level > 7))
                abort();
        config_clear(&table, &settings);
        return 0;
}
