// SPDX-License-Identifier: BSD-2-Clause
/*
 * Root, entries and record: two state files, of which the root names one.
 */

#include <assert.h>
#include <crypto/crypto.h>
#include <stdlib.h>
#include <stdlib_ext.h>
#include <string.h>
#include <string_ext.h>
#include <tee_api_defines_extensions.h>

#include "blob.h"
#include "state.h"

struct mutex store_mutex = MUTEX_INITIALIZER;
struct store_state store_state = {
	.entries = TAILQ_HEAD_INITIALIZER(store_state.entries),
};

static const char *state_file_name(uint8_t state_file)
{
	return state_file ? "otrp.s1" : "otrp.s0";
}

struct node *state_find(const struct blob_name *name)
{
	struct node *node = NULL;

	TAILQ_FOREACH(node, &store_state.entries, link)
		if (names_equal(&node->entry.name, name))
			return node;

	return NULL;
}

struct node *state_find_file(uint32_t file)
{
	struct node *node = NULL;

	TAILQ_FOREACH(node, &store_state.entries, link)
		if (entry_has_file(&node->entry) && node->entry.file == file)
			return node;

	return NULL;
}

void nodes_free(struct node_head *head)
{
	struct node *node = NULL;

	while ((node = TAILQ_FIRST(head))) {
		TAILQ_REMOVE(head, node, link);
		free_wipe(node);
	}
}

void state_unload(void)
{
	store_state.loaded = false;
	store_state.entry_count = 0;
	nodes_free(&store_state.entries);
	memzero_explicit(&store_state.root, sizeof(store_state.root));
}

static bool is_valid_entry(const struct entry *e)
{
	static const struct blob_name nil_image = { PTA_OTRP_STORE_KIND_IMAGE };

	if (entry_is_tombstone(e)) {
		uint8_t what = e->name.kind & ~TOMBSTONE;

		if (!what || what & ~(TOMBSTONE_FILE | TOMBSTONE_DATA))
			return false;
	} else if (names_equal(&e->name, &nil_image) ||
		   e->size > INT32_MAX || (entry_is_image(e) && !e->size) ||
		   state_find(&e->name)) {
		return false;
	}

	return !entry_has_file(e) || (e->file < store_state.root.next_file &&
				      !state_find_file(e->file));
}

static TEE_Result check_entries(struct node_head *unchecked)
{
	struct node *node = NULL;

	while ((node = TAILQ_FIRST(unchecked))) {
		if (!is_valid_entry(&node->entry))
			return TEE_ERROR_CORRUPT_OBJECT;
		TAILQ_REMOVE(unchecked, node, link);
		TAILQ_INSERT_TAIL(&store_state.entries, node, link);
		store_state.entry_count++;
	}

	return TEE_SUCCESS;
}

static TEE_Result read_nodes(int fd, struct node_head *head)
{
	const struct root *root = &store_state.root;
	size_t size = root->entry_count * sizeof(struct entry);
	struct transfer transfer = { };
	struct cipher cipher = { };
	TEE_Result res = TEE_SUCCESS;
	struct node *node = NULL;
	size_t n = 0;

	res = cipher_init(&cipher, TEE_MODE_DECRYPT, root->key, MESSAGE_FIRST,
			  size);
	if (res)
		return res;
	res = transfer_init(&transfer, fd, 0, size);

	for (n = 0; !res && n < root->entry_count; n++) {
		node = malloc(sizeof(*node));
		if (!node) {
			res = TEE_ERROR_OUT_OF_MEMORY;
			break;
		}
		TAILQ_INSERT_TAIL(head, node, link);
		res = transfer_read(&transfer, &cipher, NULL, &node->entry,
				    NULL, sizeof(node->entry));
	}
	if (!res)
		res = cipher_check(&cipher, root->entries_tag);

	transfer_final(&transfer);
	cipher_free(&cipher);

	return res;
}

static TEE_Result read_entries(void)
{
	struct node_head head = TAILQ_HEAD_INITIALIZER(head);
	TEE_Result res = TEE_SUCCESS;
	int fd = -1;

	res = file_open_known(state_file_name(store_state.root.state_file),
			      &fd);
	if (res)
		return res;

	res = read_nodes(fd, &head);
	file_close(fd);
	if (!res)
		res = check_entries(&head);
	nodes_free(&head);

	return res;
}

TEE_Result state_load(void)
{
	TEE_Result res = TEE_SUCCESS;

	assert(mutex_is_locked(&store_mutex));
	if (store_state.loaded)
		return TEE_SUCCESS;

	res = root_read(&store_state.root);
	if (!res)
		res = read_entries();
	else if (res == TEE_ERROR_ITEM_NOT_FOUND)
		res = TEE_SUCCESS;
	if (res) {
		state_unload();
		return res;
	}

	/*
	 * That nothing is stored is asked each time: storage may not have been
	 * ready, and a commit takes it for a new device.
	 */
	store_state.loaded = store_state.root.sequence;
	blobs_settle();

	return TEE_SUCCESS;
}

static TEE_Result write_message(struct transfer *transfer, struct root *new,
				enum message message, const void *record_user)
{
	size_t size = store_state.entry_count * sizeof(struct entry);
	struct cipher cipher = { };
	TEE_Result res = TEE_SUCCESS;
	struct node *node = NULL;

	if (message == MESSAGE_RECORD)
		size = new->record_size;
	res = cipher_init(&cipher, TEE_MODE_ENCRYPT, new->key, message, size);
	if (res)
		return res;

	if (message == MESSAGE_RECORD) {
		res = transfer_write(transfer, &cipher, NULL, record_user,
				     size);
	} else {
		TAILQ_FOREACH(node, &store_state.entries, link) {
			res = transfer_write(transfer, &cipher, &node->entry,
					     NULL, sizeof(node->entry));
			if (res)
				break;
		}
	}
	if (!res)
		res = cipher_seal(&cipher, message == MESSAGE_RECORD ?
				  new->record_tag : new->entries_tag);
	cipher_free(&cipher);

	return res;
}

TEE_Result state_write(struct root *new, const void *record_user)
{
	struct transfer transfer = { };
	TEE_Result res = TEE_SUCCESS;
	int fd = -1;

	res = crypto_rng_read(new->key, sizeof(new->key));
	if (res)
		return res;
	res = file_create(state_file_name(new->state_file), &fd);
	if (res)
		return res;

	res = transfer_init(&transfer, fd, 0,
			    store_state.entry_count * sizeof(struct entry) +
			    new->record_size);
	if (!res)
		res = write_message(&transfer, new, MESSAGE_FIRST, NULL);
	if (!res)
		res = write_message(&transfer, new, MESSAGE_RECORD,
				    record_user);
	transfer_final(&transfer);
	file_close(fd);

	return res;
}

TEE_Result state_read_record(const struct root *from, void *user)
{
	struct transfer transfer = { };
	struct cipher cipher = { };
	TEE_Result res = TEE_SUCCESS;
	int fd = -1;

	res = file_open_known(state_file_name(from->state_file), &fd);
	if (res)
		return res;

	res = cipher_init(&cipher, TEE_MODE_DECRYPT, from->key, MESSAGE_RECORD,
			  from->record_size);
	if (!res)
		res = transfer_init(&transfer, fd,
				    from->entry_count * sizeof(struct entry),
				    from->record_size);
	if (!res)
		res = transfer_read(&transfer, &cipher, NULL, NULL, user,
				    from->record_size);
	if (!res)
		res = cipher_check(&cipher, from->record_tag);

	transfer_final(&transfer);
	cipher_free(&cipher);
	file_close(fd);

	return res;
}
