/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The harness that OP-TEE's storage code runs in on the host: a normal world
 * that keeps files and can fail, lie or lose power at any call, and a platform
 * with the memory that the normal world cannot change.
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
	MISSES,			/* not read, reported as not there */
	DONE_BUT_FAILS,		/* done, reported as failed */
	LIES,			/* not done, reported as done */
	CUT_BEFORE,		/* the power fails before it is done */
	CUT_AFTER,		/* the power fails when it is done */
	FAULT_COUNT
};

/* What the normal world can copy and put back */
struct disk;

/*
 * What it cannot: counter and hash, where the platform has them, and which TAs
 * have an object in an RPMB
 */
struct secure_memory {
	uint32_t counter;
	bool has_hash;
	uint8_t hash[32];
	uint32_t rpmb_objects;
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
/* The name of a file, by its number from 0; NULL for none */
const char *disk_file_name(size_t number);
size_t disk_file_count(void);
void disk_read_file(const char *name, uint8_t *octets, size_t size);
size_t disk_file_size(const char *name);
void disk_write_file(const char *name, const uint8_t *octets, size_t size);
void disk_remove_file(const char *name);
/* Octets that the files can have together; 0: any number */
extern size_t disk_capacity;

/* What the core asked tee-supplicant for since somebody set it to zero */
struct calls {
	unsigned int all;
	unsigned int reads;
	unsigned int writes;	/* each is on the disk before it returns */
	/* Not among all: shared memory that was requested or returned */
	unsigned int memory;
};

extern struct calls calls_made;

/* The core returns to the normal world, and with that the shared memory */
void core_return(void);
/* The normal world shares no more octets than this */
extern size_t shared_memory_largest;

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
enum fault fault_begin(bool changes, bool reads);
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
/* The most that was in use since this was set */
extern size_t core_heap_peak;
/* The allocation with this number, from 1, fails; 0: none */
extern unsigned int core_heap_failure;

/* Everything authenticates, and encryption changes nothing */
extern bool crypto_is_open;

/* The TA that calls, as ts_get_calling_session() returns it; NULL for none */
void call_as(const TEE_UUID *uuid, bool is_user_ta, bool is_releasing);
/* The TA with sessions, and how often instances were retired */
extern TEE_UUID running_ta;
extern unsigned int retired;
/* Which were, by the bits of rpmb_objects */
extern uint32_t retired_tas;
/* A UUID in network order */
void octets_of_uuid(uint8_t *octets, const TEE_UUID *uuid);
/* The bit of rpmb_objects */
#define RPMB_OBJECT(uuid)	(1U << ((uuid)->timeLow % 32))

/* The store: what its cache takes, and what it knows of files */
size_t store_cache_size(void);
bool store_has_tombstones(void);
bool store_leads_to(uint32_t file);
bool store_may_overwrite(uint32_t file);

void heap_restart(void);
void fs_htree_restart(void);
void ree_fs_restart(void);
void store_restart(void);
void platform_restart(void);

#endif
