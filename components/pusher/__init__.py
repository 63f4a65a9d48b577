"""Pusher: a blessed model into the folder that TF Serving watches, whole or not at all."""
