import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.consumer.ProcessQueue;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.*;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Drives the unmodified Apache client by commands on stdin and answers each with one JSON line on stdout,
 * prefixed by '@' because the client's logger chats there too. The tests that read the lines do all the judging.
 *
 *   in    7 namesrv=127.0.0.1:9876 send sync TopicA 10 tag=TagA        number, where, command, arguments, options
 *   out   @{"id":7,"value":[…]}   or   @{"id":7,"error":"…","kind":"MQBrokerException","code":16}
 *
 * Every command has a thread of its own, so one that takes long does not hold up the others, and answers may
 * overtake each other. Consumers are kept by name until "stop"; one producer is kept for each nameserver.
 */
public class Scenarios {
    static final PrintStream OUT = System.out;
    static final ThreadLocal<ByteArrayOutputStream> PRINTED = new ThreadLocal<>();
    static final Map<String, DefaultMQProducer> PRODUCERS = new HashMap<>();
    static final Map<String, DefaultMQPushConsumer> CONSUMERS = new ConcurrentHashMap<>();
    static final Map<String, List<Map<String, Object>>> GOT = new ConcurrentHashMap<>();
    static final Map<String, AtomicBoolean> UNTIL = new ConcurrentHashMap<>();

    public static void main(String[] arguments) {
        if (arguments.length > 0) System.setProperty(RemotingCommand.SERIALIZE_TYPE_PROPERTY, arguments[0]);
        System.setOut(split(OUT));
        System.setErr(split(System.err));
        Thread hurrying = new Thread(() -> {
            while (true) {
                try { Thread.sleep(50); } catch (InterruptedException e) { return; }
                if (somebodyShutsDown()) hurry();
            }
        });
        hurrying.setDaemon(true);
        hurrying.start();
        Scanner in = new Scanner(System.in, "UTF-8");
        say(Map.of("id", 0, "value", "ready"));
        while (in.hasNextLine()) {
            String[] words = in.nextLine().trim().split(" ");
            Map<String, String> opt = new HashMap<>();
            List<String> plain = new ArrayList<>();
            for (String w : words) {
                int i = w.indexOf('=');
                if (i > 0) opt.put(w.substring(0, i), w.substring(i + 1)); else plain.add(w);
            }
            new Thread(() -> answer(plain.toArray(new String[0]), opt), "command " + plain.get(0)).start();
        }
        Runtime.getRuntime().halt(0);
    }

    /**
     * A client that shuts down waits for its event thread, which looks up from its queue every 3 s: wake those
     * that wait there, which does no more to them than that.
     */
    static void hurry() {
        for (Map.Entry<Thread, StackTraceElement[]> e : Thread.getAllStackTraces().entrySet()) {
            boolean waits = e.getKey().getState() == Thread.State.TIMED_WAITING && e.getValue().length > 5;
            if (waits && e.getKey().getName().equals("NettyEventExecutor") && Arrays.stream(e.getValue())
                .anyMatch(f -> f.getMethodName().equals("poll"))) e.getKey().interrupt();
        }
    }

    static boolean somebodyShutsDown() {
        return Thread.getAllStackTraces().values().stream().anyMatch(frames -> Arrays.stream(frames).anyMatch(
            f -> f.getClassName().endsWith("ServiceThread") && f.getMethodName().equals("shutdown")));
    }

    static void answer(String[] plain, Map<String, String> opt) {
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("id", Integer.parseInt(plain[0]));
        try {
            m.put("value", run(Arrays.copyOfRange(plain, 1, plain.length), opt));
        } catch (Throwable e) {
            m.putAll(failure(e));
        }
        say(m);
    }

    /** What went wrong; the code is the broker's where one lies underneath. */
    static Map<String, Object> failure(Throwable e) {
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("error", e.toString());
        m.put("kind", e.getClass().getSimpleName());
        for (Throwable t = e; t != null; t = t.getCause()) {
            if (t instanceof MQClientException) m.put("code", ((MQClientException) t).getResponseCode());
            if (t instanceof MQBrokerException) m.put("code", ((MQBrokerException) t).getResponseCode());
        }
        return m;
    }

    static Object run(String[] w, Map<String, String> opt) throws Exception {
        switch (w[0]) {
            case "send": return send(w[1], w[2], Integer.parseInt(w[3]), opt);
            case "subscribe": return subscribe(w[1], w[2], opt);
            case "got": return got(w[1], opt);
            case "queues": return queues(w[1], opt);
            case "enough": { UNTIL.remove(w[1]).set(true); return true; }
            case "stop": return stop(w[1]);
            case "pull": return pull(w[1], w[2], opt);
            case "lite": return lite(w[1], w[2], opt);
            case "query": return query(w[1], opt);
            case "offsets": return offsets(w[1], opt);
            case "mqadmin": return mqadmin(Arrays.copyOfRange(w, 1, w.length), opt);
            default: throw new IllegalArgumentException("unknown command " + w[0]);
        }
    }

    /** Where to go, an identity of its own, and a look at the routes every second rather than every 30. */
    static void configure(ClientConfig c, Map<String, String> opt) {
        c.setNamesrvAddr(opt.get("namesrv"));
        c.setInstanceName("interop" + System.nanoTime());
        if (opt.containsKey("defaults")) return;
        c.setPollNameServerInterval(1000);
        c.setHeartbeatBrokerInterval(1000);
    }

    static DefaultMQProducer producer(Map<String, String> opt) throws Exception {
        synchronized (PRODUCERS) {
            DefaultMQProducer p = PRODUCERS.get(opt.get("namesrv"));
            if (p == null) {
                p = new DefaultMQProducer("interop_producer");
                configure(p, opt);
                p.setSendMsgTimeout(10000);
                p.setMaxMessageSize(16 << 20);
                p.start();
                PRODUCERS.put(opt.get("namesrv"), p);
            }
            return p;
        }
    }

    static Message message(String topic, int i, Map<String, String> opt) {
        int size = Integer.parseInt(opt.getOrDefault("size", "0"));
        byte[] body = (opt.getOrDefault("body", "m") + i).getBytes(StandardCharsets.UTF_8);
        if (size > 0) {
            int used = body.length;
            body = Arrays.copyOf(body, size);
            Random random = new Random(i);
            if (opt.containsKey("random")) for (int at = used; at < size; at++) body[at] = (byte) random.nextInt(256);
        }
        String tag = opt.get("tags") == null ? opt.get("tag") : opt.get("tags").split(",")[i % opt.get("tags").split(",").length];
        Message m = new Message(topic, tag, opt.get("key") == null ? null : opt.get("key") + i, body);
        if (opt.containsKey("delay")) m.setDelayTimeLevel(Integer.parseInt(opt.get("delay")));
        if (opt.containsKey("timer")) m.setDelayTimeSec(Long.parseLong(opt.get("timer")));
        if (opt.containsKey("property")) m.putUserProperty(opt.get("property").split(":")[0], opt.get("property").split(":")[1]);
        return m;
    }

    static Object result(SendResult r) {
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("status", r.getSendStatus().name());
        m.put("broker", r.getMessageQueue().getBrokerName());
        m.put("msgId", r.getMsgId());
        m.put("offsetMsgId", r.getOffsetMsgId());
        m.put("queueId", r.getMessageQueue().getQueueId());
        m.put("queueOffset", r.getQueueOffset());
        return m;
    }

    /** send KIND TOPIC COUNT: sync, async, oneway, batch (of COUNT), ordered (one queue by key), transaction, until. */
    static Object send(String kind, String topic, int count, Map<String, String> opt) throws Exception {
        DefaultMQProducer p = producer(opt);
        List<Object> out = Collections.synchronizedList(new ArrayList<>());
        switch (kind) {
            case "sync":
                for (int i = 0; i < count; i++) out.add(result(p.send(message(topic, i, opt))));
                break;
            case "async": {
                CountDownLatch latch = new CountDownLatch(count);
                for (int i = 0; i < count; i++) p.send(message(topic, i, opt), new SendCallback() {
                    public void onSuccess(SendResult r) { out.add(result(r)); latch.countDown(); }
                    public void onException(Throwable e) { out.add(failure(e)); latch.countDown(); }
                });
                if (!latch.await(30, TimeUnit.SECONDS)) throw new TimeoutException("callbacks missing: " + latch.getCount());
                break;
            }
            case "oneway":
                for (int i = 0; i < count; i++) p.sendOneway(message(topic, i, opt));
                break;
            case "batch": {
                List<Message> ms = new ArrayList<>();
                for (int i = 0; i < count; i++) ms.add(message(topic, i, opt));
                out.add(result(p.send(ms)));
                break;
            }
            case "ordered":
                for (int i = 0; i < count; i++) out.add(result(p.send(message(topic, i, opt),
                    (queues, m, key) -> queues.get(((Integer) key) % queues.size()), i % 3)));
                break;
            case "transaction": {
                TransactionMQProducer t = new TransactionMQProducer("interop_transaction");
                configure(t, opt);
                t.setTransactionListener(new TransactionListener() {
                    public LocalTransactionState executeLocalTransaction(Message m, Object a) { return LocalTransactionState.COMMIT_MESSAGE; }
                    public LocalTransactionState checkLocalTransaction(MessageExt m) { return LocalTransactionState.COMMIT_MESSAGE; }
                });
                t.start();
                try { out.add(result(t.sendMessageInTransaction(message(topic, 0, opt), null))); } finally { t.shutdown(); }
                break;
            }
            case "until": return until(topic, opt);
            default: throw new IllegalArgumentException(kind);
        }
        return out;
    }

    /**
     * Send from eight threads until "enough TOPIC"; what was acknowledged is told, failures are counted. pause= is
     * what a thread waits after an acknowledgement, gap the longest time without one, both in milliseconds.
     */
    static Object until(String topic, Map<String, String> opt) throws Exception {
        DefaultMQProducer p = new DefaultMQProducer("interop_until");
        configure(p, opt);
        p.setRetryTimesWhenSendFailed(0);
        p.setSendMsgTimeout(2000);
        p.start();
        AtomicBoolean enough = new AtomicBoolean();
        UNTIL.put(topic, enough);
        Set<String> acked = ConcurrentHashMap.newKeySet();
        AtomicInteger failed = new AtomicInteger();
        AtomicLong last = new AtomicLong(), gap = new AtomicLong();
        long pause = Long.parseLong(opt.getOrDefault("pause", "0"));
        ExecutorService ex = Executors.newFixedThreadPool(8);
        for (int t = 0; t < 8; t++) {
            int thread = t;
            ex.submit(() -> {
                for (int i = 0; !enough.get(); i++) {
                    String body = thread + "-" + i;
                    try {
                        SendResult r = p.send(new Message(topic, body.getBytes(StandardCharsets.UTF_8)));
                        if (r.getSendStatus() == SendStatus.SEND_OK) {
                            acked.add(body);
                            long now = System.currentTimeMillis(), before = last.getAndSet(now);
                            if (before > 0) gap.accumulateAndGet(now - before, Math::max);
                        }
                        if (pause > 0) Thread.sleep(pause);
                    } catch (Exception e) {
                        failed.incrementAndGet();
                        try { Thread.sleep(20); } catch (InterruptedException x) { return; }
                    }
                }
            });
        }
        ex.shutdown();
        ex.awaitTermination(600, TimeUnit.SECONDS);
        p.shutdown();
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("acked", new ArrayList<>(acked));
        m.put("failed", failed.get());
        m.put("last", last.get());
        m.put("gap", gap.get());
        return m;
    }

    static Map<String, Object> shown(MessageExt m) {
        Map<String, Object> s = new LinkedHashMap<>();
        CRC32 crc = new CRC32();
        if (m.getBody() != null) crc.update(m.getBody());
        s.put("topic", m.getTopic());
        s.put("queueId", m.getQueueId());
        s.put("queueOffset", m.getQueueOffset());
        s.put("reconsumeTimes", m.getReconsumeTimes());
        s.put("size", m.getBody() == null ? 0 : m.getBody().length);
        byte[] b = m.getBody() == null ? new byte[0] : m.getBody();
        s.put("body", new String(b, 0, Math.min(b.length, 64), StandardCharsets.UTF_8).replace("\0", ""));
        s.put("tags", m.getTags());
        s.put("keys", m.getKeys());
        s.put("msgId", m.getMsgId());
        s.put("crc", crc.getValue());
        s.put("sysFlag", m.getSysFlag());
        s.put("stored_size", m.getStoreSize());
        s.put("offsetMsgId", m instanceof MessageClientExt ? ((MessageClientExt) m).getOffsetMsgId() : m.getMsgId());
        s.put("born", m.getBornTimestamp());
        s.put("properties", m.getProperties());
        s.put("bornHost", m.getBornHostString());
        s.put("at", System.currentTimeMillis());
        s.put("stored", m.getStoreTimestamp());
        return s;
    }

    /** subscribe NAME TOPIC [group=] [filter=A||B] [sql] [model=BROADCASTING] [ordered=] [fail=N] [level=] [max=]. */
    static Object subscribe(String name, String topic, Map<String, String> opt) throws Exception {
        DefaultMQPushConsumer c = new DefaultMQPushConsumer(opt.get("group"));
        configure(c, opt);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        if (opt.containsKey("model")) c.setMessageModel(MessageModel.valueOf(opt.get("model")));
        if (opt.containsKey("max")) c.setMaxReconsumeTimes(Integer.parseInt(opt.get("max")));
        if (opt.containsKey("sql")) c.subscribe(topic, MessageSelector.bySql("a > 1"));
        else c.subscribe(topic, opt.getOrDefault("filter", "*"));
        List<Map<String, Object>> got = Collections.synchronizedList(new ArrayList<>());
        GOT.put(name, got);
        int fail = Integer.parseInt(opt.getOrDefault("fail", "0"));
        if (opt.containsKey("ordered")) {
            c.registerMessageListener((MessageListenerOrderly) (ms, ctx) -> {
                for (MessageExt m : ms) got.add(shown(m));
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            c.registerMessageListener((MessageListenerConcurrently) (ms, ctx) -> {
                if (opt.containsKey("level")) ctx.setDelayLevelWhenNextConsume(Integer.parseInt(opt.get("level")));
                boolean later = false;
                for (MessageExt m : ms) { got.add(shown(m)); later |= m.getReconsumeTimes() < fail; }
                return later ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        c.start();
        CONSUMERS.put(name, c);
        return Map.of("started", name);
    }

    /** got NAME [count=N] [ms=]: what the consumer received, once that is N messages or the time is over. */
    static Object got(String name, Map<String, String> opt) throws Exception {
        List<Map<String, Object>> got = GOT.get(name);
        int count = Integer.parseInt(opt.getOrDefault("count", "0"));
        long end = System.currentTimeMillis() + Long.parseLong(opt.getOrDefault("ms", "20000"));
        while (got.size() < count && System.currentTimeMillis() < end) Thread.sleep(10);
        synchronized (got) { return new ArrayList<>(got); }
    }

    /** stop NAME: what it received; it leaves with nothing half consumed, else others would get that again. */
    static Object stop(String name) throws Exception {
        DefaultMQPushConsumer c = CONSUMERS.remove(name);
        long end = System.currentTimeMillis() + 5_000;
        for (ProcessQueue held : c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().values())
            while (held.getMsgCount().get() > 0 && System.currentTimeMillis() < end) Thread.sleep(10);
        c.shutdown();
        return GOT.remove(name);
    }

    /** queues NAME [count=N] [ms=]: the queue ids that the consumer holds (retry aside), once there are N. */
    static Object queues(String name, Map<String, String> opt) throws Exception {
        int count = Integer.parseInt(opt.getOrDefault("count", "0"));
        long end = System.currentTimeMillis() + Long.parseLong(opt.getOrDefault("ms", "20000"));
        while (true) {
            List<Integer> held = new ArrayList<>();
            for (MessageQueue q : CONSUMERS.get(name).getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet())
                if (!q.getTopic().startsWith("%RETRY%")) held.add(q.getQueueId());
            Collections.sort(held);
            if (held.size() == count || System.currentTimeMillis() > end) return held;
            Thread.sleep(10);
        }
    }

    /** pull GROUP TOPIC: every queue from its begin, by the plain pull consumer. */
    static Object pull(String group, String topic, Map<String, String> opt) throws Exception {
        DefaultMQPullConsumer c = new DefaultMQPullConsumer(group);
        configure(c, opt);
        c.start();
        try {
            List<Object> out = new ArrayList<>();
            for (MessageQueue q : routed(c, topic)) {
                long at = opt.containsKey("time") ? c.searchOffset(q, Long.parseLong(opt.get("time"))) : c.minOffset(q);
                while (true) {
                    PullResult r = c.pull(q, opt.getOrDefault("filter", "*"), at, 32);
                    if (r.getPullStatus() == PullStatus.FOUND) for (MessageExt m : r.getMsgFoundList()) out.add(shown(m));
                    boolean end = r.getNextBeginOffset() == at || r.getPullStatus() == PullStatus.NO_NEW_MSG;
                    at = r.getNextBeginOffset();
                    if (end) break;
                }
                c.updateConsumeOffset(q, at);
            }
            return out;
        } finally { c.shutdown(); }
    }

    /** Its queues; a topic that was created a moment ago may still be on its way to the nameserver. */
    static Set<MessageQueue> routed(DefaultMQPullConsumer c, String topic) throws Exception {
        for (long end = System.currentTimeMillis() + 10_000; ; Thread.sleep(20)) {
            try {
                return c.fetchSubscribeMessageQueues(topic);
            } catch (MQClientException e) {
                if (System.currentTimeMillis() > end) throw e;
            }
        }
    }

    /** lite GROUP TOPIC [ms=]: the lite pull consumer with subscribe and auto commit. */
    static Object lite(String group, String topic, Map<String, String> opt) throws Exception {
        DefaultLitePullConsumer c = new DefaultLitePullConsumer(group);
        configure(c, opt);
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.subscribe(topic, opt.getOrDefault("filter", "*"));
        c.start();
        try {
            List<Object> out = new ArrayList<>();
            long end = System.currentTimeMillis() + Long.parseLong(opt.getOrDefault("ms", "8000"));
            int want = Integer.parseInt(opt.getOrDefault("count", "1"));
            while (out.size() < want && System.currentTimeMillis() < end) for (MessageExt m : c.poll(500)) out.add(shown(m));
            c.commitSync();
            return out;
        } finally { c.shutdown(); }
    }

    /** query TOPIC key=K | id=ID. */
    static Object query(String topic, Map<String, String> opt) throws Exception {
        DefaultMQProducer p = producer(opt);
        if (opt.containsKey("id")) return shown(p.viewMessage(topic, opt.get("id")));
        long now = System.currentTimeMillis();
        QueryResult r = p.queryMessage(topic, opt.get("key"), 32, now - 3600_000, now + 3600_000);
        List<Object> out = new ArrayList<>();
        for (MessageExt m : r.getMessageList()) out.add(shown(m));
        return out;
    }

    /** offsets TOPIC: min and max of every queue. */
    static Object offsets(String topic, Map<String, String> opt) throws Exception {
        DefaultMQProducer p = producer(opt);
        List<Object> out = new ArrayList<>();
        for (MessageQueue q : p.fetchPublishMessageQueues(topic))
            out.add(Map.of("queueId", q.getQueueId(), "min", p.minOffset(q), "max", p.maxOffset(q), "earliest", p.earliestMsgStoreTime(q)));
        return out;
    }

    /** mqadmin SUBCOMMAND ARGS…: what it prints on either stream. One at a time: the tool has one name for all. */
    static synchronized Object mqadmin(String[] words, Map<String, String> opt) {
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setProperty("rocketmq.namesrv.addr", opt.get("namesrv"));
        PRINTED.set(printed);
        try {
            Admin.fresh();
            MQAdminStartup.main0(words, null);
        } finally {
            PRINTED.remove();
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    /** Some commands keep a client of the first cluster that they saw: every run gets new ones. */
    static class Admin extends MQAdminStartup {
        static void fresh() { SUB_COMMANDS.clear(); }
    }

    /** What a thread prints goes into its own buffer where it has one, so that commands do not mix. */
    static PrintStream split(PrintStream otherwise) {
        return new PrintStream(new OutputStream() {
            public void write(int b) { target().write(b); }
            public void write(byte[] b, int off, int len) { target().write(b, off, len); }
            ByteArrayOutputStream own() { return PRINTED.get(); }
            PrintStream target() { return own() == null ? otherwise : new PrintStream(own(), true); }
        }, true);
    }

    static void say(Object value) {
        String line = "@" + com.alibaba.fastjson.JSON.toJSONString(value,
            com.alibaba.fastjson.serializer.SerializerFeature.DisableCircularReferenceDetect);
        synchronized (OUT) {
            OUT.println(line);
            OUT.flush();
        }
    }
}
