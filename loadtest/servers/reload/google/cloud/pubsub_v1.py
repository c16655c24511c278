"""Stands in for google-cloud-pubsub under Reload: messages are thrown away."""


class types:
    class BatchSettings:
        def __init__(self, max_bytes, max_latency, max_messages):
            pass


class PublisherClient:
    def __init__(self, batch_settings):
        pass

    def topic_path(self, project, topic):
        return f"projects/{project}/topics/{topic}"

    def publish(self, topic, data):
        pass
