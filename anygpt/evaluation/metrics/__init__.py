"""The metrics of the literature, on words, boxes and features; whoever calls them brings the feature extractor."""
