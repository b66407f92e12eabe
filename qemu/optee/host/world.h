/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What OP-TEE's storage code runs in on the host: a normal world that keeps
 * files and can fail, lie or lose power at any call, and a platform with the
 * memory that the normal world cannot change.
 */
#ifndef WORLD_H
#define WORLD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tee_api_types.h>

/* How a call ends other than done and reported as done */
enum fault {
	NO_FAULT,
	FAILS,			/* not done, reported as failed */
	DONE_BUT_FAILS,		/* done, reported as failed */
	LIES,			/* not done, reported as done */
	CUT_BEFORE,		/* the power fails before it is done */
	CUT_AFTER,		/* the power fails when it is done */
	FAULT_COUNT
};

/* What the normal world can copy and put back */
struct disk;

/* What it cannot: counter and hash, where the platform has them */
struct secure_memory {
	uint32_t counter;
	bool has_hash;
	uint8_t hash[32];
};

extern struct secure_memory secure_memory;

/* Whether only the committed state opens, or none that is older, or any */
bool platform_keeps_hash(void);
bool platform_keeps_counter(void);

/* A copy of the files as they are now */
struct disk *disk_copy(void);
void disk_put_back(const struct disk *disk);
void disk_free(struct disk *disk);
/* What the files were right after the fault, a copy to free; NULL if none */
struct disk *disk_at_fault(void);
bool disk_has(const char *name);
/* How often a TA's file was missing that the core asked for */
extern unsigned int missing_ta_files;

/* What the core asked tee-supplicant for since somebody set it to zero */
struct calls {
	unsigned int all;
	unsigned int reads;
	unsigned int writes;	/* each is on the disk before it returns */
};

extern struct calls calls_made;

/* The call to come with this number, from 0, has this fault */
void fault_arm(unsigned int call, enum fault fault);
/* What a read that fails is reported with */
extern TEE_Result read_failure;
/* Returns whether there was such a call; @happened: with such a fault */
bool fault_disarm(bool *happened);
/*
 * Around each call; a power cut jumps to power_cut_jump. A call that changes
 * nothing has no fault that would need a change.
 */
enum fault fault_begin(bool changes);
void fault_end(enum fault fault);
extern jmp_buf power_cut_jump;

/* The core's memory is lost: its heap, its variables, its open files */
void core_restart(void);
/* Octets of the core's heap that are in use */
size_t core_heap_used(void);
/* The heap has no space for larger chunks than this */
extern size_t core_heap_largest;
/* How many chunks were freed that held a run of this octet */
#define PLAINTEXT	0xa5
extern unsigned int core_heap_leaks;

void fs_htree_restart(void);
void ree_fs_restart(void);
void tadb_restart(void);
void platform_restart(void);

#endif
