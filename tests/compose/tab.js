// Readers in one tab: an EventSource for each job but the last, which a WebSocket reads and resumes.
(jobs) => {
    const kinds = ["started", "token", "usage", "restarted", "continued", "waiting", "done"];
    const take = (reader, entry) => {
        reader.entries.push(entry.id);
        if (reader.broke && !reader.resumed) reader.resumed = Date.now();
        if (entry.kind === "done") reader.ended = true;
    };
    const eventSource = (reader, job) => {
        reader.source = new EventSource(`/jobs/${job}/stream`);
        reader.source.onopen = () => { reader.opened += 1; };
        reader.source.onerror = () => {
            if (reader.ended) reader.source.close();
            else reader.broke ||= Date.now();
        };
        for (const kind of kinds) {
            reader.source.addEventListener(kind, (event) => take(reader, JSON.parse(event.data)));
        }
    };
    const webSocket = (reader, job) => {
        reader.source = new WebSocket(`wss://${location.host}/jobs/${job}/ws?after=${reader.entries.at(-1) ?? 0}`);
        reader.source.onopen = () => { reader.opened += 1; };
        reader.source.onmessage = (event) => {
            const entry = JSON.parse(event.data);
            if (kinds.includes(entry.kind)) take(reader, entry);
        };
        reader.source.onclose = () => {
            if (reader.ended) return;
            reader.broke ||= Date.now();
            setTimeout(() => webSocket(reader, job), 500);
        };
    };
    window.readers = jobs.map((job, number) => {
        const reader = { entries: [], opened: 0, broke: 0, resumed: 0, ended: false };
        (number < jobs.length - 1 ? eventSource : webSocket)(reader, job);
        return reader;
    });
}
