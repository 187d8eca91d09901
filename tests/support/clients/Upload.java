import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The JDK's own client: {@code java Upload.java VERSION SERVER KEY NAME METADATA PHOTO LARGE TEXT}, where VERSION is
 * one of HttpClient's. Says of each thing that it tries, in a line: its name, the answer's status, and the answer's
 * body in base64.
 */
public class Upload {
    private static final Pattern RESULT = Pattern.compile("\"result_url\":\"([^\"]+)\"");

    private final HttpClient client;
    private final String server;
    private final String key;
    private final String name;
    private final String metadata;

    private Upload(HttpClient.Version version, String server, String key, String name, String metadata) {
        this.client = HttpClient.newBuilder().version(version).build();
        this.server = server;
        this.key = key;
        this.name = name;
        this.metadata = metadata;
    }

    public static void main(String[] args) throws Exception {
        Upload upload = new Upload(HttpClient.Version.valueOf(args[0]), args[1], args[2], args[3], args[4]);
        HttpResponse<byte[]> accepted = say("upload", upload.post(Path.of(args[5]), true));
        Matcher result = RESULT.matcher(new String(accepted.body(), StandardCharsets.UTF_8));
        if (!result.find()) {
            throw new IllegalStateException("no result_url in the answer");
        }
        say("result", upload.send(upload.request(result.group(1) + "?wait=30", true).GET().build()));
        say("no key", upload.post(Path.of(args[6]), false));
        say("too large", upload.post(Path.of(args[6]), true));
        say("no image", upload.post(Path.of(args[7]), true));
    }

    private HttpResponse<byte[]> post(Path file, boolean withKey) throws IOException, InterruptedException {
        String boundary = "a-boundary-of-our-own";
        String head = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n" + metadata
                + "\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name
                + "\"\r\nContent-Type: image/jpeg\r\n\r\n";
        BodyPublisher body = BodyPublishers.concat(
                BodyPublishers.ofString(head),
                BodyPublishers.ofFile(file),
                BodyPublishers.ofString("\r\n--" + boundary + "--\r\n"));
        return send(request("/upload", withKey)
                .header("Content-Type", "multipart/form-data; boundary=" + boundary)
                .POST(body)
                .build());
    }

    private HttpRequest.Builder request(String path, boolean withKey) {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(server + path));
        return withKey ? request.header("Authorization", "Bearer " + key) : request;
    }

    private HttpResponse<byte[]> send(HttpRequest request) throws IOException, InterruptedException {
        return client.send(request, BodyHandlers.ofByteArray());
    }

    private static HttpResponse<byte[]> say(String name, HttpResponse<byte[]> answer) {
        String body = Base64.getEncoder().encodeToString(answer.body());
        System.out.println(name + " " + answer.statusCode() + " " + body);
        return answer;
    }
}
