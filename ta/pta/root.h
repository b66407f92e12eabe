/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The root: an object of the core's own storage that determines everything
 * else in the store. Replacing it is the commit.
 */

#ifndef __ROOT_H
#define __ROOT_H

#include <compiler.h>
#include <stdbool.h>
#include <stdint.h>
#include <tee_api_types.h>

#include "store.h"

#define ROOT_MAGIC		{ 'O', 'T', 'R', 'P' }
#define ROOT_FORMAT		1

/* Bounds the core's heap; the broker has at most 305 */
#define ENTRY_COUNT_MAX		1024

/*
 * struct root - what determines everything else; changing it is the commit
 * @format:	Of this and of everything it leads to
 * @sequence:	Number of the commit, from 1
 * @next_file:	No file of this number or a higher one belongs to this commit
 *		or to one before it
 * @entry_count: Entries at the start of the state file
 * @record_size: Octets of the record, which follows
 * @state_file:	Which of the two
 * @key:	Key of the state file, fresh in each commit
 * @entries_tag: Tag of the entries, MESSAGE_FIRST
 * @record_tag:	Tag of the record, MESSAGE_RECORD
 *
 * It fits in one block of the REE file system, which replaces it as a whole.
 */
struct root {
	uint8_t magic[4];
	uint32_t format;
	uint64_t sequence;
	uint32_t next_file;
	uint32_t entry_count;
	uint32_t record_size;
	uint8_t state_file;
	uint8_t key[STORE_KEY_SIZE];
	uint8_t entries_tag[STORE_TAG_SIZE];
	uint8_t record_tag[STORE_TAG_SIZE];
} __packed;

/*
 * Both take the REE file system's mutex and call the normal world with it. The
 * caller holds store_mutex, so no root is read while it is replaced.
 */

/*
 * TEE_ERROR_ITEM_NOT_FOUND if nothing was stored yet, TEE_ERROR_CORRUPT_OBJECT
 * if what was is damaged, older than the counter or of another format. On an
 * error @root is as it was.
 */
TEE_Result root_read(struct root *root);
/* @exists: whether to replace one. After an error either may be stored. */
TEE_Result root_write(const struct root *root, bool exists);

#endif /* __ROOT_H */
