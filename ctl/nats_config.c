/* SPDX-License-Identifier: MIT */

#include <string.h>

#include "ctl/nats_config.h"

void nats_config_label(const Principal *principal, Buffer *buffer) {
        buffer_printf(buffer, "%s-%s", role_names[principal->role], principal->name.text);
}

/* What gives the same configuration again, with the keys that are there. */
static void write_command(const NatsConfig *config, Buffer *buffer) {
        const Permissions *permissions = &config->permissions;

        buffer_printf(buffer, "# compozyctl nats-config --force --output %s --listen %s --url %s", config->directory,
                config->listen, config->url);
        if (!slice_equal(permissions->prefix, SLICE(SUBJECT_PREFIX_DEFAULT)))
                buffer_printf(buffer, " --prefix %.*s", SLICE_ARG(permissions->prefix));
        if (permissions->has_jetstream)
                buffer_printf(buffer, " --store-dir %s", config->store_dir);
        else
                buffer_printf(buffer, " --no-jetstream");
        if (config->tls_cert)
                buffer_printf(buffer, " --tls-cert %s --tls-key %s", config->tls_cert, config->tls_key);
        if (config->tls_ca)
                buffer_printf(buffer, " --tls-ca %s", config->tls_ca);
        if (config->tls_verify)
                buffer_printf(buffer, " --tls-verify");
        for (size_t i = 0; i < permissions->n_principals; i++) {
                const Principal *principal = &permissions->principals[i];

                buffer_printf(buffer, " --%s '%s", role_names[principal->role], principal->name.text);
                if (principal->targets.size > 0)
                        buffer_printf(buffer, ":%.*s", SLICE_ARG(principal->targets));
                buffer_append_char(buffer, '\'');
        }
        for (size_t i = 0; i < permissions->n_topics; i++)
                buffer_printf(buffer, " --topic '%s'", permissions->topics[i]);
        buffer_append_char(buffer, '\n');
}

void nats_config_write_server(const NatsConfig *config, Buffer *buffer) {
        buffer_printf(buffer,
                "# A nats-server for Compozy agent dispatch, made by compozyctl nats-config.\n"
                "listen: \"%s\"\n",
                config->listen);
        if (config->permissions.has_jetstream)
                buffer_printf(buffer, "jetstream: { store_dir: \"%s\" }\n", config->store_dir);
        if (config->tls_cert) {
                buffer_printf(
                        buffer, "tls: {\n  cert_file: \"%s\"\n  key_file: \"%s\"\n", config->tls_cert, config->tls_key);
                if (config->tls_verify)
                        buffer_printf(buffer, "  ca_file: \"%s\"\n  verify: true\n", config->tls_ca);
                buffer_printf(buffer, "}\n");
        }
        buffer_printf(buffer, "include \"accounts.conf\"\n");
}

void nats_config_write_accounts(const NatsConfig *config, Buffer *buffer) {
        buffer_printf(buffer,
                "# Who may connect, and who may do what: docs/security.md. There are no secrets in here: the keys are "
                "public.\n"
                "# The server takes it over without a restart: nats-server --signal reload. Made by, and to be made "
                "again by:\n");
        write_command(config, buffer);
        permissions_write(&config->permissions, buffer);
}

static void write_link(const NatsConfig *config, const Principal *principal, Buffer *buffer) {
        buffer_printf(buffer, "[nats]\nurl = %s\nnkey_seed_file = %s/keys/", config->url, config->directory);
        nats_config_label(principal, buffer);
        buffer_printf(buffer, ".nk\n");
        if (!slice_equal(config->permissions.prefix, SLICE(SUBJECT_PREFIX_DEFAULT)))
                buffer_printf(buffer, "subject_prefix = %.*s\n", SLICE_ARG(config->permissions.prefix));
        if (config->tls_ca)
                buffer_printf(buffer, "tls_ca = %s\n", config->tls_ca);
        if (config->tls_verify)
                buffer_printf(buffer, "# The server wants to see a certificate:\n#tls_cert =\n#tls_key =\n");
}

/* Whoever triggers an agent says where its answer goes, and the runtime's permissions are wider than a caller's: so it
 * goes to inboxes and topics, and not to a capability or another agent. */
static void write_runtime(const NatsConfig *config, const char *name, Buffer *buffer) {
        const Permissions *permissions = &config->permissions;

        buffer_printf(buffer, "\n[runtime]\nid = %s\n\n[topics]\nreply_subjects = _INBOX.>", name);
        for (size_t i = 0; i < permissions->n_topics; i++)
                buffer_printf(buffer, ",%s", permissions->topics[i]);
        buffer_append_char(buffer, '\n');
}

void nats_config_write_settings(const NatsConfig *config, const Principal *principal, Buffer *buffer) {
        const char *role = role_names[principal->role], *name = principal->name.text;

        switch (principal->role) {
        case ROLE_DISPATCHER:
                buffer_printf(buffer, "# compozy-dispatcherd -c this file, or a drop-in of dispatcherd.conf.d/\n");
                break;
        case ROLE_RUNTIME:
                buffer_printf(buffer, "# compozy-runtimed -c this file, or a drop-in of runtimed.conf.d/\n");
                break;
        default:
                buffer_printf(buffer, "# A context of compozyctl: ~/.config/compozy/contexts/%s-%s.conf\n", role, name);
                break;
        }
        write_link(config, principal, buffer);
        if (principal->role == ROLE_RUNTIME)
                write_runtime(config, name, buffer);
        else if (principal->role != ROLE_DISPATCHER) /* daemons have it so by themselves */
                buffer_printf(buffer, "inbox_prefix = _INBOX.%s.%s\n", role, name);
}
