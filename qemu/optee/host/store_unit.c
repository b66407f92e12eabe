// SPDX-License-Identifier: BSD-2-Clause
/*
 * The OTrP store with a way to lose its memory, and what a test asks of it.
 */
#include <store.c>

#include "world.h"

void store_restart(void)
{
	store_mutex = (struct mutex)MUTEX_INITIALIZER;
	loaded = false;
	memset(&root, 0, sizeof(root));
	TAILQ_INIT(&entries);
	entry_count = 0;
	TAILQ_INIT(&blobs);
	TAILQ_INIT(&uses);
}

size_t store_cache_size(void)
{
	struct node *node = NULL;
	struct blob *blob = NULL;
	struct use *use = NULL;
	size_t size = 0;

	TAILQ_FOREACH(node, &entries, link)
		size += sizeof(*node);
	TAILQ_FOREACH(use, &uses, link)
		size += sizeof(*use);
	/* Those of a failed commit, until it is known whether it was done */
	TAILQ_FOREACH(blob, &blobs, link)
		if (!blob->session)
			size += sizeof(*blob);

	return size;
}

bool store_has_tombstones(void)
{
	struct node *node = NULL;

	TAILQ_FOREACH(node, &entries, link)
		if (is_tombstone(&node->entry))
			return true;

	return false;
}

bool store_leads_to(uint32_t file)
{
	return find_file(file);
}

bool store_may_overwrite(uint32_t file)
{
	return file >= root.next_file;
}
