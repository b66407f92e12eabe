// SPDX-License-Identifier: BSD-2-Clause
/*
 * The commit. It writes the state file that the root does not name, and then
 * the root: that one write is the commit. Nothing that the committed root leads
 * to is touched before it. Files that it no longer leads to are named by
 * tombstones among its entries, and removed after it.
 */

#include <config.h>
#include <kernel/mutex.h>
#include <stdlib.h>
#include <string.h>
#include <string_ext.h>
#include <tee_api_defines_extensions.h>
#include <util.h>

#include "blob.h"
#include "erasure.h"
#include "library.h"
#include "root.h"
#include "state.h"

static bool is_pending(const struct store_session *session,
		       const struct blob_name *name)
{
	size_t n = 0;

	for (n = 0; n < session->pending_count; n++)
		if (names_equal(&session->pending[n]->entry.name, name))
			return true;

	return false;
}

/* Counts it among the entries, which @head is to join */
static TEE_Result add_node(struct node_head *head, const struct entry *entry)
{
	struct node *node = malloc(sizeof(*node));

	if (!node)
		return TEE_ERROR_OUT_OF_MEMORY;
	node->entry = *entry;
	TAILQ_INSERT_TAIL(head, node, link);
	store_state.entry_count++;

	return TEE_SUCCESS;
}

static bool has_pending_file(const struct store_session *session, uint32_t file)
{
	size_t n = 0;

	for (n = 0; n < session->pending_count; n++)
		if (session->pending[n]->entry.file == file)
			return true;

	return false;
}

/*
 * Entries of the pending blobs, and tombstones of the numbers between theirs,
 * which will not be used again: another session's blobs, which can't be
 * committed any more, or what a power cut or a failed removal has left.
 */
static TEE_Result make_nodes(struct store_session *session, struct root *new,
			     struct node_head *head)
{
	struct entry tombstone = { .name.kind = TOMBSTONE | TOMBSTONE_FILE };
	TEE_Result res = TEE_SUCCESS;
	struct blob *blob = NULL;
	uint32_t file = 0;
	size_t n = 0;

	for (n = 0; !res && n < session->pending_count; n++) {
		blob = session->pending[n];
		new->next_file = MAX(new->next_file, blob->entry.file + 1);
		res = add_node(head, &blob->entry);
	}
	for (file = store_state.root.next_file;
	     !res && file < new->next_file; file++) {
		if (has_pending_file(session, file))
			continue;
		tombstone.file = file;
		res = add_node(head, &tombstone);
	}

	return res;
}

static bool keeps_data(const struct entry *e)
{
	return !entry_is_image(e) || IS_ENABLED(CFG_OTRP_STORE_KEEP_DATA);
}

/* Leaves those @names that were there, and become tombstones here */
static void remove_names(struct store_session *session, struct blob_name *names,
			 size_t *name_count)
{
	struct node *node = NULL;
	size_t found = 0;
	size_t n = 0;

	for (n = 0; n < *name_count; n++) {
		node = state_find(names + n);
		if (!node || is_pending(session, names + n))
			continue;
		names[found++] = names[n];
		erasure_bury(&node->entry,
			     keeps_data(&node->entry) ? 0 : TOMBSTONE_DATA);
	}
	*name_count = found;
}

/* Makes the entries in memory those of the next commit */
static TEE_Result change_entries(struct store_session *session,
				 struct root *new, struct blob_name *names,
				 size_t *name_count)
{
	struct node_head added = TAILQ_HEAD_INITIALIZER(added);
	TEE_Result res = TEE_SUCCESS;
	struct node *node = NULL;
	size_t n = 0;

	for (n = 0; !res && n < session->pending_count; n++)
		res = erasure_check_busy(&session->pending[n]->entry.name);
	if (!res)
		res = make_nodes(session, new, &added);
	if (!res && store_state.entry_count > ENTRY_COUNT_MAX)
		res = TEE_ERROR_STORAGE_NO_SPACE;
	if (res) {
		nodes_free(&added);
		return res;
	}

	remove_names(session, names, name_count);
	for (n = 0; n < session->pending_count; n++) {
		node = state_find(&session->pending[n]->entry.name);
		if (node)
			erasure_bury(&node->entry, 0);
	}
	TAILQ_CONCAT(&store_state.entries, &added, link);

	return TEE_SUCCESS;
}

/*
 * A commit whose last write has failed may be done. It is known as soon as the
 * root can be read: that is what a restart would find.
 */
static TEE_Result was_committed(const struct root *new, TEE_Result failure)
{
	if (state_load())
		return TEE_ERROR_STORAGE_NOT_AVAILABLE;
	if (!memcmp(&store_state.root, new, sizeof(*new)))
		return TEE_SUCCESS;

	return failure;
}

/* @begun: whether the commit may be done, also where it has failed */
static TEE_Result commit(struct store_session *session, const void *record_user,
			 size_t record_size, struct blob_name *names,
			 size_t *name_count, bool *begun)
{
	struct root new = { .magic = ROOT_MAGIC, .format = ROOT_FORMAT };
	TEE_Result res = TEE_SUCCESS;
	size_t n = 0;

	res = state_load();
	if (res)
		return res;
	if (!session->knows || session->sequence != store_state.root.sequence)
		return TEE_ERROR_BAD_STATE;

	new.sequence = store_state.root.sequence + 1;
	new.state_file = !store_state.root.state_file;
	new.next_file = store_state.root.next_file;
	new.record_size = record_size;
	res = change_entries(session, &new, names, name_count);
	new.entry_count = store_state.entry_count;
	if (!res)
		res = state_write(&new, record_user);
	if (res) {
		state_unload();
		goto out;
	}

	*begun = true;
	/* From here on what is stored may have the pending blobs */
	for (n = 0; n < session->pending_count; n++)
		session->pending[n]->session = NULL;
	session->pending_count = 0;

	res = root_write(&new, store_state.root.sequence);
	if (!res) {
		store_state.root = new;
		store_state.loaded = true;
		blobs_settle();
	} else {
		state_unload();
		res = was_committed(&new, res);
	}
	if (!res)
		session->sequence = new.sequence;
out:
	memzero_explicit(&new, sizeof(new));

	return res;
}

TEE_Result store_commit(struct store_session *session, const void *record_user,
			size_t record_size, struct blob_name *names,
			size_t name_count)
{
	struct blob_name added[PTA_OTRP_STORE_PENDING_MAX] = { };
	size_t added_count = session->pending_count;
	TEE_Result res = TEE_SUCCESS;
	bool begun = false;
	size_t n = 0;

	store_drop_open(session);
	for (n = 0; n < added_count; n++)
		added[n] = session->pending[n]->entry.name;

	mutex_lock(&store_mutex);
	res = commit(session, record_user, record_size, names, &name_count,
		     &begun);
	mutex_unlock(&store_mutex);

	session->knows = !res;
	store_drop_all(session);
	if (!begun)
		return res;

	/* Also where it has failed: the new code may be what loads now */
	for (n = 0; n < added_count; n++)
		library_retire(added + n);
	for (n = 0; n < name_count; n++)
		library_retire(names + n);

	if (!res) {
		mutex_lock(&store_mutex);
		erasure_finish();
		mutex_unlock(&store_mutex);
	}

	return res;
}
