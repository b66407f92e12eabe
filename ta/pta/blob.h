/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blobs that are not committed, and the files of all.
 */

#ifndef __BLOB_H
#define __BLOB_H

#include <stdint.h>
#include <sys/queue.h>
#include <tee_api_types.h>

#include "store.h"

/*
 * struct blob - a blob that is not committed
 * @link:	In the list of these
 * @session:	Whose; NULL if a commit of it has failed and may be done
 * @entry:	What its entry will be
 * @fd:		Its file while it is written, else -1
 * @pos:	Octets that were written
 * @cipher:	Has no context once it is sealed
 *
 * What the commands of its session do to it needs no lock, for they run one at
 * a time. The list does, store_mutex.
 */
struct blob {
	TAILQ_ENTRY(blob) link;
	struct store_session *session;
	struct entry entry;
	int fd;
	size_t pos;
	struct cipher cipher;
};

/* As file_open_known() and file_remove() */
TEE_Result blob_file_open(uint32_t file, int *fd);
TEE_Result blob_file_remove(uint32_t file);

/*
 * Drops blobs without a session, and the files of those that the entries do
 * not have: the caller holds store_mutex and has the state that is stored.
 */
void blobs_settle(void);

#endif /* __BLOB_H */
