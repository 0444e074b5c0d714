/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ExecSpawner: a thread that spawns processes one after the other, so that the loop need not stand still while they are
 * made. Jobs are borrowed from exec_spawner_submit() until exec_spawner_take() returns them.
 *
 * submit and take are for the loop thread. The thread starts with the first job and lives as long as the spawner: the
 * kernel kills its processes when it ends.
 */

#include "proto/cc.h"
#include "runtimed/exec_spawn.h"

typedef struct ExecJob ExecJob;
typedef struct ExecSpawner ExecSpawner;

struct ExecJob {
        ExecJob *next; /* for the list that holds it */
        const ExecSettings *settings;
        Slice agent_id;
        int warden_fd;

        int result; /* what exec_spawn() returned */
        ExecProcess process;
        WireError error;
};

int exec_spawner_new(ExecSpawner **ret) _must_check_;

/* Finishes the job it is at, ends the thread. Jobs that were not taken are dropped; a process that was made is in its
 * job. */
ExecSpawner *exec_spawner_free(ExecSpawner *spawner);

DEFINE_CLEANUP(ExecSpawner *, exec_spawner_free);

/* Readable when there are jobs to take. */
int exec_spawner_fd(const ExecSpawner *spawner);

/* Returns 0, or -errno when there can be no thread: then the job is still the caller's. */
int exec_spawner_submit(ExecSpawner *spawner, ExecJob *job);

/* All that are done, oldest first; NULL: none. */
ExecJob *exec_spawner_take(ExecSpawner *spawner);
