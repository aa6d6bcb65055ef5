"""One module a peer: ``load(model, **options)`` returns what embeds a list of texts."""
