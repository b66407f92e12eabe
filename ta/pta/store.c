// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the OTrP broker keeps: a root object, two state files and blobs.
 *
 * The root is an object of the core's own storage and has the protection
 * against older states that this has. It holds the key and the tags of a state
 * file, which lies in the normal world and holds the entries, one for each
 * blob, and the client's record. An entry holds key and tag of a blob's file.
 * So the root determines every octet.
 *
 * A commit writes the state file that the root does not name, and then the
 * root: that one write is the commit. Nothing that the committed root leads to
 * is touched before it. Files that it no longer leads to are named by
 * tombstones among its entries, and removed after it.
 *
 * Only this file changes what is stored, so root and entries are kept in
 * memory. After a failed commit they are dropped, because they have the
 * change: what is stored is read again.
 */

#include <assert.h>
#include <config.h>
#include <crypto/crypto.h>
#include <kernel/mutex.h>
#include <kernel/nv_counter.h>
#include <kernel/tee_ta_manager.h>
#include <kernel/user_access.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdlib_ext.h>
#include <string.h>
#include <string_ext.h>
#include <tee/tee_fs.h>
#include <tee/tee_pobj.h>
#include <tee/uuid.h>
#include <tee_api_defines_extensions.h>
#include <trace.h>
#include <util.h>

#include "store.h"

#define ROOT_MAGIC		{ 'O', 'T', 'R', 'P' }
#define ROOT_FORMAT		1

/* Bounds the core's heap; the broker has at most 305 */
#define ENTRY_COUNT_MAX		1024

/* "otrp." and a number, or "otrp.s" and 0 or 1 */
#define FILE_NAME_SIZE		sizeof("otrp.4294967295")

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
 * Each entry is allocated alone: an array would be needed twice while it
 * grows, and as one piece, which a small heap may not have.
 */
struct node {
	TAILQ_ENTRY(node) link;
	struct entry entry;
};

TAILQ_HEAD(node_head, node);

/*
 * struct blob - a blob that is not committed
 * @link:	In @blobs
 * @session:	Whose; NULL if a commit of it has failed and may be done
 * @entry:	What its entry will be
 * @fd:		Its file while it is written, else -1
 * @pos:	Octets that were written
 * @cipher:	Has no context once it is sealed
 */
struct blob {
	TAILQ_ENTRY(blob) link;
	struct store_session *session;
	struct entry entry;
	int fd;
	size_t pos;
	struct cipher cipher;
};

/*
 * Protects what follows. The loader takes it to look an image up and to open
 * its file, but not to read it, so a load that the normal world stalls there
 * does not keep a commit waiting. Commits hold it, and can be stalled: but the
 * REE file system, which they need, has the same property.
 *
 * Taken before the REE file system's mutex and tee_ta_mutex, neither of which
 * is ever held where this one is taken. Not held in tee_ta_retire(), which can
 * run TAs.
 */
static struct mutex store_mutex = MUTEX_INITIALIZER;
/* Whether @root and @entries are what is stored; no sequence: nothing is */
static bool loaded;
static struct root root;
/* Without tombstones that need nothing any more, which may be stored */
static struct node_head entries = TAILQ_HEAD_INITIALIZER(entries);
static size_t entry_count;
static TAILQ_HEAD(, blob) blobs = TAILQ_HEAD_INITIALIZER(blobs);

/*
 * struct use - what an instance has mapped beside its own image
 * @link:	In @uses
 * @ta:		The TA
 * @library:	The library, which may be removed meanwhile
 */
struct use {
	TAILQ_ENTRY(use) link;
	TEE_UUID ta;
	TEE_UUID library;
};

/* Protected by @store_mutex, too */
static TAILQ_HEAD(, use) uses = TAILQ_HEAD_INITIALIZER(uses);

static char root_object_id[] = "root";
/* The file system keeps pointers into it */
static struct tee_pobj root_object = {
	.uuid = PTA_OTRP_STORE_UUID,
	.obj_id = root_object_id,
	.obj_id_len = sizeof(root_object_id),
};

static const struct tee_file_operations *root_ops(void)
{
	return tee_svc_storage_file_ops(TEE_STORAGE_PRIVATE);
}

static void blob_file_name(char *name, uint32_t file)
{
	int rc __maybe_unused = 0;

	rc = snprintf(name, FILE_NAME_SIZE, "otrp.%" PRIu32, file);
	assert(rc > 0 && rc < (int)FILE_NAME_SIZE);
}

static const char *state_file_name(uint8_t state_file)
{
	return state_file ? "otrp.s1" : "otrp.s0";
}

static bool is_tombstone(const struct entry *e)
{
	return e->name.kind & TOMBSTONE;
}

static bool has_file(const struct entry *e)
{
	return !is_tombstone(e) || e->name.kind & TOMBSTONE_FILE;
}

static bool is_image(const struct entry *e)
{
	return e->name.kind == PTA_OTRP_STORE_KIND_IMAGE;
}

static bool names_equal(const struct blob_name *a, const struct blob_name *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static void uuid_of(TEE_UUID *uuid, const struct blob_name *name)
{
	tee_uuid_from_octets(uuid, name->id);
}

static struct node *find_node(const struct blob_name *name)
{
	struct node *node = NULL;

	TAILQ_FOREACH(node, &entries, link)
		if (names_equal(&node->entry.name, name))
			return node;

	return NULL;
}

static struct node *find_file(uint32_t file)
{
	struct node *node = NULL;

	TAILQ_FOREACH(node, &entries, link)
		if (has_file(&node->entry) && node->entry.file == file)
			return node;

	return NULL;
}

static void free_nodes(struct node_head *head)
{
	struct node *node = NULL;

	while ((node = TAILQ_FIRST(head))) {
		TAILQ_REMOVE(head, node, link);
		free_wipe(node);
	}
}

static void unload(void)
{
	loaded = false;
	entry_count = 0;
	free_nodes(&entries);
	memzero_explicit(&root, sizeof(root));
}

/* Of a file that no commit leads to; where it fails the file does no harm */
static void remove_blob_file(uint32_t file)
{
	char name[FILE_NAME_SIZE] = { };

	blob_file_name(name, file);
	file_remove(name);
}

static void close_blob(struct blob *blob)
{
	cipher_free(&blob->cipher);
	if (blob->fd >= 0)
		file_close(blob->fd);
	blob->fd = -1;
}

static void drop_blob(struct blob *blob)
{
	close_blob(blob);
	remove_blob_file(blob->entry.file);

	mutex_lock(&store_mutex);
	TAILQ_REMOVE(&blobs, blob, link);
	mutex_unlock(&store_mutex);
	free_wipe(blob);
}

static bool is_damage(TEE_Result res)
{
	switch (res) {
	case TEE_ERROR_SECURITY:
	case TEE_ERROR_MAC_INVALID:
	case TEE_ERROR_CORRUPT_OBJECT:
	case TEE_ERROR_BAD_FORMAT:
	case TEE_ERROR_NO_DATA:
		return true;
	default:
		return false;
	}
}

static TEE_Result root_result(TEE_Result res)
{
	return is_damage(res) ? TEE_ERROR_CORRUPT_OBJECT : file_result(res);
}

/* The counter rises with the first directory that is whole */
static bool nothing_was_stored(void)
{
	uint32_t counter = 0;

	return !nv_counter_get_ree_fs(&counter) && !counter;
}

static TEE_Result open_root(struct tee_file_handle **fh)
{
	TEE_Result res = root_ops()->open(&root_object, NULL, fh);

	/*
	 * A power cut in the first write of all leaves a directory that is not
	 * whole. Nothing is lost with it, and the core has just removed it.
	 */
	if (is_damage(res) && nothing_was_stored())
		res = root_ops()->open(&root_object, NULL, fh);
	if (is_damage(res))
		EMSG("Secure storage is damaged or older than its counter: %#"
		     PRIx32, res);

	return res == TEE_ERROR_ITEM_NOT_FOUND ? res : root_result(res);
}

static bool is_valid_root(const struct root *r)
{
	static const uint8_t magic[] = ROOT_MAGIC;

	return !memcmp(r->magic, magic, sizeof(magic)) &&
	       r->format == ROOT_FORMAT && r->sequence && r->state_file <= 1 &&
	       r->entry_count <= ENTRY_COUNT_MAX && r->record_size &&
	       r->record_size <= PTA_OTRP_STORE_RECORD_MAX;
}

static TEE_Result read_root(void)
{
	struct {
		struct root root;
		uint8_t excess;
	} __packed found = { };
	struct tee_file_handle *fh = NULL;
	TEE_Result res = TEE_SUCCESS;
	size_t size = sizeof(found);

	res = open_root(&fh);
	if (res)
		return res;

	res = root_result(root_ops()->read(fh, 0, &found, NULL, &size));
	root_ops()->close(&fh);
	if (!res && (size != sizeof(found.root) || !is_valid_root(&found.root)))
		res = TEE_ERROR_CORRUPT_OBJECT;
	if (!res)
		root = found.root;
	memzero_explicit(&found, sizeof(found));

	return res;
}

static bool is_valid_entry(const struct entry *e)
{
	static const struct blob_name nil_image = { PTA_OTRP_STORE_KIND_IMAGE };

	if (is_tombstone(e)) {
		uint8_t what = e->name.kind & ~TOMBSTONE;

		if (!what || what & ~(TOMBSTONE_FILE | TOMBSTONE_DATA))
			return false;
	} else if (names_equal(&e->name, &nil_image) ||
		   e->size > INT32_MAX || (is_image(e) && !e->size) ||
		   find_node(&e->name)) {
		return false;
	}

	return !has_file(e) || (e->file < root.next_file && !find_file(e->file));
}

static TEE_Result check_entries(struct node_head *unchecked)
{
	struct node *node = NULL;

	while ((node = TAILQ_FIRST(unchecked))) {
		if (!is_valid_entry(&node->entry))
			return TEE_ERROR_CORRUPT_OBJECT;
		TAILQ_REMOVE(unchecked, node, link);
		TAILQ_INSERT_TAIL(&entries, node, link);
		entry_count++;
	}

	return TEE_SUCCESS;
}

/* Opens a file that the root leads to */
static TEE_Result open_file(const char *name, int *fd)
{
	TEE_Result res = file_open(name, fd);

	if (res == TEE_ERROR_ITEM_NOT_FOUND) {
		EMSG("%s is missing", name);
		return TEE_ERROR_CORRUPT_OBJECT;
	}

	return res;
}

static TEE_Result read_nodes(int fd, struct node_head *head)
{
	size_t size = root.entry_count * sizeof(struct entry);
	struct transfer transfer = { };
	struct cipher cipher = { };
	TEE_Result res = TEE_SUCCESS;
	struct node *node = NULL;
	size_t n = 0;

	res = cipher_init(&cipher, TEE_MODE_DECRYPT, root.key, MESSAGE_FIRST,
			  size);
	if (res)
		return res;
	res = transfer_init(&transfer, fd, 0, size);

	for (n = 0; !res && n < root.entry_count; n++) {
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
		res = cipher_check(&cipher, root.entries_tag);

	transfer_final(&transfer);
	cipher_free(&cipher);

	return res;
}

static TEE_Result read_entries(void)
{
	struct node_head head = TAILQ_HEAD_INITIALIZER(head);
	TEE_Result res = TEE_SUCCESS;
	int fd = -1;

	res = open_file(state_file_name(root.state_file), &fd);
	if (res)
		return res;

	res = read_nodes(fd, &head);
	file_close(fd);
	if (!res)
		res = check_entries(&head);
	free_nodes(&head);

	return res;
}

/* Now it is known whether those whose commit had failed were committed */
static void settle_blobs(void)
{
	struct blob *blob = NULL;
	struct blob *next = NULL;

	TAILQ_FOREACH_SAFE(blob, &blobs, link, next) {
		if (blob->session)
			continue;
		if (!find_file(blob->entry.file))
			remove_blob_file(blob->entry.file);
		TAILQ_REMOVE(&blobs, blob, link);
		free_wipe(blob);
	}
}

/* Makes root and entries what is stored */
static TEE_Result load(void)
{
	TEE_Result res = TEE_SUCCESS;

	assert(mutex_is_locked(&store_mutex));
	if (loaded)
		return TEE_SUCCESS;

	res = read_root();
	if (!res)
		res = read_entries();
	else if (res == TEE_ERROR_ITEM_NOT_FOUND)
		res = TEE_SUCCESS;
	if (res) {
		unload();
		return res;
	}

	/*
	 * That nothing is stored is asked each time: storage may not have been
	 * ready, and a commit takes it for a new device.
	 */
	loaded = root.sequence;
	settle_blobs();

	return TEE_SUCCESS;
}

static TEE_Result remove_objects(const struct tee_file_operations *ops,
				 const TEE_UUID *uuid)
{
	struct tee_fs_dirent *dirent = NULL;
	struct tee_fs_dir *dir = NULL;
	TEE_Result res = TEE_SUCCESS;

	res = ops->opendir(uuid, &dir);
	if (res == TEE_ERROR_ITEM_NOT_FOUND)
		return TEE_SUCCESS;
	if (res)
		return res;

	while (!(res = ops->readdir(dir, &dirent))) {
		struct tee_pobj object = {
			.uuid = *uuid,
			.obj_id = dirent->oid,
			.obj_id_len = dirent->oidlen,
		};

		if (ops->remove(&object)) {
			res = TEE_ERROR_STORAGE_NOT_AVAILABLE;
			break;
		}
	}
	ops->closedir(dir);

	return res == TEE_ERROR_ITEM_NOT_FOUND ? TEE_SUCCESS : res;
}

/* An instance could still store something, and its objects are in use */
static TEE_Result remove_data(const TEE_UUID *uuid)
{
	static const uint32_t storages[] = {
		TEE_STORAGE_PRIVATE_REE,
		TEE_STORAGE_PRIVATE_RPMB,
	};
	const struct tee_file_operations *ops = NULL;
	TEE_Result res = TEE_SUCCESS;
	size_t n = 0;

	if (tee_ta_has_instance(uuid))
		return TEE_ERROR_BUSY;

	for (n = 0; !res && n < ARRAY_SIZE(storages); n++) {
		ops = tee_svc_storage_file_ops(storages[n]);
		if (ops)
			res = remove_objects(ops, uuid);
	}

	return res;
}

/*
 * Does what tombstones call for. One that needs nothing any more stays in
 * storage until the next commit. Found again after a restart it does no harm:
 * the commit that installs its UUID is without it.
 */
static void finish(void)
{
	char name[FILE_NAME_SIZE] = { };
	struct node *node = NULL;
	struct node *next = NULL;
	TEE_UUID uuid = { };

	TAILQ_FOREACH_SAFE(node, &entries, link, next) {
		struct entry *e = &node->entry;

		if (!is_tombstone(e))
			continue;
		if (e->name.kind & TOMBSTONE_FILE) {
			TEE_Result res = TEE_SUCCESS;

			blob_file_name(name, e->file);
			res = file_remove(name);
			if (!res || res == TEE_ERROR_ITEM_NOT_FOUND)
				e->name.kind &= ~TOMBSTONE_FILE;
		}
		if (e->name.kind & TOMBSTONE_DATA) {
			uuid_of(&uuid, &e->name);
			/* It may have become the UUID of another TA */
			if (is_reserved_uuid(&uuid) || !remove_data(&uuid))
				e->name.kind &= ~TOMBSTONE_DATA;
		}
		if (e->name.kind == TOMBSTONE) {
			TAILQ_REMOVE(&entries, node, link);
			entry_count--;
			free_wipe(node);
		}
	}
}

static bool has_data_left(const struct blob_name *image)
{
	struct node *node = NULL;

	TAILQ_FOREACH(node, &entries, link) {
		struct entry *e = &node->entry;

		if (is_tombstone(e) && e->name.kind & TOMBSTONE_DATA &&
		    !memcmp(e->name.id, image->id, sizeof(image->id)))
			return true;
	}

	return false;
}

/* Whether an image can be put where a TA was */
static TEE_Result check_busy(const struct blob_name *name)
{
	if (name->kind != PTA_OTRP_STORE_KIND_IMAGE || !has_data_left(name))
		return TEE_SUCCESS;

	finish();

	return has_data_left(name) ? TEE_ERROR_BUSY : TEE_SUCCESS;
}

/*
 * The lowest number that no commit has used, so that what a power cut leaves
 * of blobs that were not committed is overwritten by the next ones.
 */
static TEE_Result choose_file(struct blob *chosen)
{
	struct blob *blob = NULL;
	uint32_t file = 0;

	for (file = root.next_file; file < UINT32_MAX; file++) {
		TAILQ_FOREACH(blob, &blobs, link)
			if (blob->entry.file == file)
				break;
		if (!blob) {
			chosen->entry.file = file;
			return TEE_SUCCESS;
		}
	}

	return TEE_ERROR_STORAGE_NO_SPACE;
}

/* Puts a blob on the list, so that its number is taken */
static TEE_Result reserve(struct blob *blob)
{
	TEE_Result res = TEE_SUCCESS;

	mutex_lock(&store_mutex);
	res = load();
	if (!res)
		res = check_busy(&blob->entry.name);
	if (!res)
		res = choose_file(blob);
	if (!res)
		TAILQ_INSERT_TAIL(&blobs, blob, link);
	mutex_unlock(&store_mutex);

	return res;
}

static TEE_Result create_blob_file(struct blob *blob)
{
	char name[FILE_NAME_SIZE] = { };
	TEE_Result res = TEE_SUCCESS;

	res = crypto_rng_read(blob->entry.key, sizeof(blob->entry.key));
	if (res)
		return res;
	res = cipher_init(&blob->cipher, TEE_MODE_ENCRYPT, blob->entry.key,
			  MESSAGE_FIRST, blob->entry.size);
	if (res)
		return res;

	blob_file_name(name, blob->entry.file);
	return file_create(name, &blob->fd);
}

TEE_Result store_begin(struct store_session *session,
		       const struct blob_name *name, const uint8_t *owner,
		       uint32_t size, uint32_t version)
{
	TEE_Result res = TEE_SUCCESS;
	struct blob *blob = NULL;

	store_drop_open(session);
	if (session->pending_count == PTA_OTRP_STORE_PENDING_MAX)
		return TEE_ERROR_BAD_STATE;

	blob = calloc(1, sizeof(*blob));
	if (!blob)
		return TEE_ERROR_OUT_OF_MEMORY;
	blob->session = session;
	blob->fd = -1;
	blob->entry.name = *name;
	blob->entry.size = size;
	blob->entry.version = version;
	memcpy(blob->entry.owner, owner, sizeof(blob->entry.owner));

	res = reserve(blob);
	if (res) {
		free_wipe(blob);
		return res;
	}
	res = create_blob_file(blob);
	if (res) {
		drop_blob(blob);
		return res;
	}
	session->open = blob;

	return TEE_SUCCESS;
}

static TEE_Result append(struct blob *blob, const void *user, size_t len)
{
	struct transfer transfer = { };
	TEE_Result res = TEE_SUCCESS;

	if (len > blob->entry.size - blob->pos)
		return TEE_ERROR_EXCESS_DATA;

	res = transfer_init(&transfer, blob->fd, blob->pos, len);
	if (!res)
		res = transfer_write(&transfer, &blob->cipher, NULL, user, len);
	transfer_final(&transfer);
	blob->pos += len;

	return res;
}

TEE_Result store_write(struct store_session *session, const void *user,
		       size_t len)
{
	TEE_Result res = append(session->open, user, len);

	if (res)
		store_drop_open(session);

	return res;
}

TEE_Result store_seal(struct store_session *session)
{
	struct blob *blob = session->open;
	TEE_Result res = TEE_ERROR_BAD_STATE;
	size_t n = 0;

	if (blob->pos == blob->entry.size)
		res = cipher_seal(&blob->cipher, blob->entry.tag);
	if (res) {
		store_drop_open(session);
		return res;
	}

	session->open = NULL;
	close_blob(blob);

	for (n = 0; n < session->pending_count; n++)
		if (names_equal(&session->pending[n]->entry.name,
				&blob->entry.name))
			break;
	if (n < session->pending_count)
		drop_blob(session->pending[n]);
	else
		session->pending_count++;
	session->pending[n] = blob;

	return TEE_SUCCESS;
}

void store_drop_open(struct store_session *session)
{
	if (session->open)
		drop_blob(session->open);
	session->open = NULL;
}

void store_drop_all(struct store_session *session)
{
	store_drop_open(session);
	while (session->pending_count)
		drop_blob(session->pending[--session->pending_count]);
}

static bool is_pending(const struct store_session *session,
		       const struct blob_name *name)
{
	size_t n = 0;

	for (n = 0; n < session->pending_count; n++)
		if (names_equal(&session->pending[n]->entry.name, name))
			return true;

	return false;
}

static TEE_Result add_node(struct node_head *head, const struct entry *entry)
{
	struct node *node = malloc(sizeof(*node));

	if (!node)
		return TEE_ERROR_OUT_OF_MEMORY;
	node->entry = *entry;
	TAILQ_INSERT_TAIL(head, node, link);
	entry_count++;

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
	for (file = root.next_file; !res && file < new->next_file; file++) {
		if (has_pending_file(session, file))
			continue;
		tombstone.file = file;
		res = add_node(head, &tombstone);
	}

	return res;
}

/* Makes an entry a tombstone that calls for what it had */
static void bury(struct entry *e, uint8_t what)
{
	struct entry tombstone = {
		.name.kind = TOMBSTONE | TOMBSTONE_FILE | what,
		.file = e->file,
	};

	if (what)
		memcpy(tombstone.name.id, e->name.id, sizeof(e->name.id));
	*e = tombstone;
}

static bool keeps_data(const struct entry *e)
{
	return !is_image(e) || IS_ENABLED(CFG_OTRP_STORE_KEEP_DATA);
}

/* Leaves those @names that were there, and become tombstones here */
static void remove_names(struct store_session *session, struct blob_name *names,
			 size_t *name_count)
{
	struct node *node = NULL;
	size_t found = 0;
	size_t n = 0;

	for (n = 0; n < *name_count; n++) {
		node = find_node(names + n);
		if (!node || is_pending(session, names + n))
			continue;
		names[found++] = names[n];
		bury(&node->entry,
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
		res = check_busy(&session->pending[n]->entry.name);
	if (!res)
		res = make_nodes(session, new, &added);
	if (!res && entry_count > ENTRY_COUNT_MAX)
		res = TEE_ERROR_STORAGE_NO_SPACE;
	if (res) {
		free_nodes(&added);
		return res;
	}

	remove_names(session, names, name_count);
	for (n = 0; n < session->pending_count; n++) {
		node = find_node(&session->pending[n]->entry.name);
		if (node)
			bury(&node->entry, 0);
	}
	TAILQ_CONCAT(&entries, &added, link);

	return TEE_SUCCESS;
}

static TEE_Result write_message(struct transfer *transfer, struct root *new,
				enum message message, const void *record_user)
{
	size_t size = entry_count * sizeof(struct entry);
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
		TAILQ_FOREACH(node, &entries, link) {
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

static TEE_Result write_state(struct root *new, const void *record_user)
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
			    entry_count * sizeof(struct entry) +
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

static TEE_Result write_root(const struct root *new)
{
	struct tee_file_handle *fh = NULL;
	TEE_Result res = TEE_SUCCESS;

	if (!root.sequence) {
		res = root_ops()->create(&root_object, false, NULL, 0, NULL, 0,
					 new, NULL, sizeof(*new), &fh);
	} else {
		res = root_ops()->open(&root_object, NULL, &fh);
		if (!res)
			res = root_ops()->write(fh, 0, new, NULL, sizeof(*new));
	}
	root_ops()->close(&fh);

	return file_result(res);
}

/*
 * A commit whose last write has failed may be done. It is known as soon as the
 * root can be read: that is what a restart would find.
 */
static TEE_Result was_committed(const struct root *new, TEE_Result failure)
{
	if (load())
		return TEE_ERROR_STORAGE_NOT_AVAILABLE;
	if (!memcmp(&root, new, sizeof(root)))
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

	res = load();
	if (res)
		return res;
	if (!session->knows || session->sequence != root.sequence)
		return TEE_ERROR_BAD_STATE;

	new.sequence = root.sequence + 1;
	new.state_file = !root.state_file;
	new.next_file = root.next_file;
	new.record_size = record_size;
	res = change_entries(session, &new, names, name_count);
	new.entry_count = entry_count;
	if (!res)
		res = write_state(&new, record_user);
	if (res) {
		unload();
		goto out;
	}

	*begun = true;
	/* From here on what is stored may have the pending blobs */
	for (n = 0; n < session->pending_count; n++)
		session->pending[n]->session = NULL;
	session->pending_count = 0;

	res = write_root(&new);
	if (!res) {
		root = new;
		loaded = true;
		settle_blobs();
	} else {
		unload();
		res = was_committed(&new, res);
	}
	if (!res)
		session->sequence = new.sequence;
out:
	memzero_explicit(&new, sizeof(new));

	return res;
}

static void remove_use(struct use *use)
{
	TAILQ_REMOVE(&uses, use, link);
	free(use);
}

/* Takes note that @ta maps @library, and forgets TAs that have ended */
static TEE_Result add_use(const TEE_UUID *ta, const TEE_UUID *library)
{
	struct use *use = NULL;
	struct use *next = NULL;
	bool found = false;

	TAILQ_FOREACH_SAFE(use, &uses, link, next) {
		if (!memcmp(&use->ta, ta, sizeof(*ta)))
			found |= !memcmp(&use->library, library,
					 sizeof(*library));
		else if (!tee_ta_has_instance(&use->ta))
			remove_use(use);
	}
	if (found)
		return TEE_SUCCESS;

	use = malloc(sizeof(*use));
	if (!use)
		return TEE_ERROR_OUT_OF_MEMORY;
	use->ta = *ta;
	use->library = *library;
	TAILQ_INSERT_TAIL(&uses, use, link);

	return TEE_SUCCESS;
}

/* A TA that has mapped @library, once each */
static bool take_use(const TEE_UUID *library, TEE_UUID *ta)
{
	struct use *use = NULL;

	mutex_lock(&store_mutex);
	TAILQ_FOREACH(use, &uses, link) {
		if (!memcmp(&use->library, library, sizeof(*library))) {
			*ta = use->ta;
			remove_use(use);
			break;
		}
	}
	mutex_unlock(&store_mutex);

	return use;
}

/* Also the instances that have mapped it as a library */
static void retire(const struct blob_name *name)
{
	TEE_UUID uuid = { };
	TEE_UUID ta = { };

	if (name->kind != PTA_OTRP_STORE_KIND_IMAGE)
		return;
	uuid_of(&uuid, name);
	if (is_reserved_uuid(&uuid))
		return;

	tee_ta_retire(&uuid);
	while (take_use(&uuid, &ta))
		tee_ta_retire(&ta);
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
		retire(added + n);
	for (n = 0; n < name_count; n++)
		retire(names + n);

	if (!res) {
		mutex_lock(&store_mutex);
		finish();
		mutex_unlock(&store_mutex);
	}

	return res;
}

static TEE_Result read_record(const struct root *from, void *user)
{
	struct transfer transfer = { };
	struct cipher cipher = { };
	TEE_Result res = TEE_SUCCESS;
	int fd = -1;

	res = open_file(state_file_name(from->state_file), &fd);
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

TEE_Result store_load(struct store_session *session, void *user, size_t *size)
{
	TEE_Result res = TEE_SUCCESS;
	size_t capacity = *size;
	struct root from = { };

	session->knows = false;
	store_drop_all(session);

	mutex_lock(&store_mutex);
	res = load();
	if (!res) {
		finish();
		from = root;
	}
	mutex_unlock(&store_mutex);
	if (res)
		return res;

	/* What the commands of a pseudo TA read is changed by none meanwhile */
	session->sequence = from.sequence;
	*size = from.record_size;
	if (!from.sequence)
		res = TEE_ERROR_ITEM_NOT_FOUND;
	else if (capacity < from.record_size)
		res = TEE_ERROR_SHORT_BUFFER;
	else
		res = read_record(&from, user);
	session->knows = !res || !from.sequence;
	memzero_explicit(&from, sizeof(from));

	return res;
}

static TEE_Result open_entry(const struct blob_name *name,
			     struct entry *entry, int *fd)
{
	char file_name[FILE_NAME_SIZE] = { };
	struct node *node = find_node(name);

	if (!node)
		return TEE_ERROR_ITEM_NOT_FOUND;
	*entry = node->entry;
	blob_file_name(file_name, entry->file);

	return open_file(file_name, fd);
}

TEE_Result store_open(const struct blob_name *name, struct entry *entry,
		      int *fd)
{
	TEE_Result res = TEE_SUCCESS;

	mutex_lock(&store_mutex);
	res = load();
	if (!res)
		res = open_entry(name, entry, fd);
	mutex_unlock(&store_mutex);

	return res;
}

/* Code is for the TA that it is, and for its owner's TAs as a library */
static bool may_load(const struct blob_name *image, const struct blob_name *by)
{
	struct node *library = find_node(image);
	struct node *ta = find_node(by);

	return library && ta && !memcmp(library->entry.owner, ta->entry.owner,
					sizeof(ta->entry.owner));
}

TEE_Result store_open_image(const TEE_UUID *uuid, const TEE_UUID *for_ta,
			    struct entry *entry, int *fd)
{
	struct blob_name image = { PTA_OTRP_STORE_KIND_IMAGE };
	struct blob_name ta = { PTA_OTRP_STORE_KIND_IMAGE };
	TEE_Result res = TEE_SUCCESS;

	tee_uuid_to_octets(image.id, uuid);
	tee_uuid_to_octets(ta.id, for_ta);

	mutex_lock(&store_mutex);
	res = load();
	if (!res) {
		if (may_load(&image, &ta))
			res = open_entry(&image, entry, fd);
		else
			res = TEE_ERROR_ITEM_NOT_FOUND;
	}
	if (!res && !names_equal(&image, &ta)) {
		res = add_use(for_ta, uuid);
		if (res) {
			file_close(*fd);
			*fd = -1;
		}
	}
	mutex_unlock(&store_mutex);

	return res;
}
