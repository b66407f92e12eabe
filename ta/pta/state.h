/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state of the store: its root, its entries and its record, in storage
 * and, except for the record, in memory.
 */

#ifndef __STATE_H
#define __STATE_H

#include <kernel/mutex.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/queue.h>
#include <tee/uuid.h>
#include <tee_api_types.h>

#include "root.h"
#include "store.h"

/*
 * Each entry is allocated alone: an array would be needed twice while it
 * grows, and as one piece, which a small heap may not have.
 */
struct node {
	TAILQ_ENTRY(node) link;
	struct entry entry;
};

TAILQ_HEAD(node_head, node);

/*
 * struct store_state - the state in memory
 * @loaded:	Whether @root and @entries are what is stored
 * @root:	No sequence: nothing is stored
 * @entries:	Without tombstones that need nothing any more, which may be
 *		stored
 * @entry_count: How many these are
 *
 * Only a commit changes it otherwise than towards what is stored, and drops it
 * if it fails.
 */
struct store_state {
	bool loaded;
	struct root root;
	struct node_head entries;
	size_t entry_count;
};

/*
 * Protects the state, the list of blobs and that of libraries in use. The
 * loader takes it to look an image up and to open its file, but not to read
 * it, so a load that the normal world stalls there does not keep a commit
 * waiting. Commits hold it, and can be stalled: but the REE file system, which
 * they need, has the same property.
 *
 * Taken before the REE file system's mutex and tee_ta_mutex, neither of which
 * is ever held where this one is taken. Not held in tee_ta_retire(), which can
 * run TAs.
 */
extern struct mutex store_mutex;
extern struct store_state store_state;

/*
 * The caller holds store_mutex around each of these, but not around
 * state_read_record(), which needs no state but its arguments.
 */

/*
 * Makes the state in memory what is stored, unless it is already; nothing
 * stored is success. After an error there is none in memory.
 */
TEE_Result state_load(void);
/* Drops the state in memory, so that what is stored is read next */
void state_unload(void);
/* NULL if there is no blob of this name, or no entry with this file */
struct node *state_find(const struct blob_name *name);
struct node *state_find_file(uint32_t file);
/*
 * Writes the state file @new names, of the entries in memory and a record of
 * @new's size, and sets @new's key and tags. What is stored does not lead to
 * that file before @new is.
 */
TEE_Result state_write(struct root *new, const void *record_user);
/*
 * @user: as many octets as the record of @from has; on an error they may have
 * octets of it. No commit may run meanwhile.
 */
TEE_Result state_read_record(const struct root *from, void *user);
void nodes_free(struct node_head *head);

static inline bool entry_is_tombstone(const struct entry *e)
{
	return e->name.kind & TOMBSTONE;
}

static inline bool entry_has_file(const struct entry *e)
{
	return !entry_is_tombstone(e) || e->name.kind & TOMBSTONE_FILE;
}

static inline bool entry_is_image(const struct entry *e)
{
	return e->name.kind == PTA_OTRP_STORE_KIND_IMAGE;
}

static inline bool names_equal(const struct blob_name *a,
			       const struct blob_name *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static inline void uuid_of(TEE_UUID *uuid, const struct blob_name *name)
{
	tee_uuid_from_octets(uuid, name->id);
}

#endif /* __STATE_H */
