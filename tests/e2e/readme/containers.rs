//! Runs the examples that need containers: those for Docker, Compose, Podman and Kubernetes. Also
//! runs the examples for systemd, in a container with systemd as process 1.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::podman::Podman;
use crate::harness::*;

/// The image that the README names in `COPY --from=`.
const RELEASED: &str = "lntu:0.2.0-amd64";

/// How long a test waits for a container to become healthy, if its health check runs every 10 s.
const SLOW: Duration = Duration::from_secs(120);

fn wait_for_health(container: &Container, health: &str) {
    wait_within(SLOW, health, || {
        (container.inspect("{{.State.Health.Status}}") == health).then_some(())
    });
}

/// Builds an image that contains `/lntu`, like the released image.
fn released() -> Image {
    Image::of(
        "FROM scratch\nCOPY lntu /\nENTRYPOINT [\"/lntu\"]\n",
        &[&binaries().lntu],
    )
}

#[test]
fn the_script_unpacks_a_release() {
    if !have_docker() {
        return;
    }
    let [script] = blocks("Get it", "sh");
    let directory = TempDir::new().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let image = released();
    let oci = directory.path().join(format!("lntu-{version}-oci.tar"));
    docker_says(&["save", "--output", oci.to_str().unwrap(), image.name()]);
    // .ci/release makes archives with such names and contents.
    let name = format!("lntu-{version}-x86_64-unknown-linux-musl");
    fs::create_dir(directory.path().join(&name)).unwrap();
    fs::copy(&binaries().lntu, directory.path().join(&name).join("lntu")).unwrap();
    let prepare = format!(
        "tar -czf {name}.tar.gz {name} && rm -r {name} && sha256sum * >SHA256SUMS &&
         echo \"$(printf %064d 0)  lntu_{version}_armhf.deb\" >>SHA256SUMS"
    );
    let run_script = |script: &str| {
        let mut shell = shell(&format!("set -e\n{script}"));
        run(shell.current_dir(&directory))
    };
    assert!(run_script(&prepare).status.success());
    let unpacked = run_script(script);
    assert_eq!((unpacked.code(), &*unpacked.stderr), (0, ""));
    let loaded = format!("Loaded image: {}", image.name());
    assert!(unpacked.stdout.contains(&loaded));
    let printed = run_script("./lntu -V");
    assert_eq!(printed.lines(), [format!("lntu {version}")]);

    fs::write(&oci, "something else").unwrap();
    assert_eq!(run_script(script).code(), 1);
}

#[test]
fn the_first_dockerfile_builds_a_healthy_container() {
    if !have_docker() {
        return;
    }
    let [diff] = blocks("lntu", "diff");
    let lntu = released();
    let image = Image::of(
        &patched(diff).replace(RELEASED, lntu.name()),
        &[&binaries().app],
    );
    let server = image.start(&[], &["listen", "8080", "serve"]);
    wait_for_health(&server, "healthy");
}

#[test]
fn docker_keeps_the_reason_of_a_failed_check() {
    if !have_docker() {
        return;
    }
    let [session] = blocks("A health check", "console");
    let image = Image::scratch_with(
        "HEALTHCHECK --interval=1s --retries=1 CMD [\"/lntu\", \"check\", \"*:${PORT:-8080}\"]",
    );
    let server = image.start(&[], &["/app", "listen-locally", "8080", "serve"]);
    wait_for_health(&server, "unhealthy");
    // Docker keeps the output of several checks, and adds a line feed to each.
    let session = session.replace("CONTAINER", "CONTAINER | grep 'pid ' | uniq");
    assert_session_about(&server, &session);
}

/// Runs the command of `session` with the name of this container, and compares its output with that
/// in the session. The container runs `app` where the session shows `node`.
fn assert_session_about(container: &Container, session: &str) {
    let session = session.replace("CONTAINER", container.name());
    let session = session.replace("(node, ", "(app, ");
    let steps = transcript::<1>(&session);
    // On a busy machine, the search for the process may take so long that the message does not name
    // it. So try again.
    wait_for("a reason that names the process", || {
        let said = run(&mut shell(&format!("exec 2>&1\n{}", steps[0].command)));
        said.stdout.contains("(app, ").then_some(())
    });
    assert_prints(&steps, shell);
}

#[test]
fn the_readme_container_session_matches_real_output() {
    if !have_docker() || !have_root() {
        return;
    }
    let [session] = blocks("See what is listening", "console");
    let server = Image::scratch().start(&[], &["/app", "listen-locally", "5000", "serve"]);
    server.wait_for_line("serving");
    assert_session_about(&server, session);
}

/// If a health command is a list that starts with `CMD`, ECS, Docker and Podman run it without a
/// shell. So the image does not need a shell.
#[test]
fn health_commands_of_podman_and_ecs_need_no_shell() {
    if !have_docker() {
        return;
    }
    let [_, quadlet] = blocks("systemd and Quadlet", "ini");
    let [task] = blocks("Kubernetes, ECS, Testcontainers", "json");
    let task: Value = serde_json::from_str(task).unwrap();
    let test = &task["healthCheck"]["command"];
    let [kind, command @ ..] = &test.as_array().unwrap()[..] else {
        panic!("{task}");
    };
    assert_eq!(kind, "CMD");
    let check = format!("HEALTHCHECK --interval=1s CMD {}", Value::from(command));
    let served = "CMD [\"/app\", \"listen\", \"8080\", \"serve\"]";
    let image = Image::scratch_with(&format!("{check}\n{served}"));
    wait_for_health(&image.start(&[], &[]), "healthy");

    let Some(podman) = Podman::find() else {
        return;
    };
    let command = quadlet
        .lines()
        .find_map(|line| line.strip_prefix("HealthCmd="));
    let image = podman.load(&Image::scratch_with(served));
    let option = format!("--health-cmd={}", command.unwrap());
    podman.says(&["create", "--network=none", "--name=app", &option, &image]);
    let inspected: Value = serde_json::from_str(&podman.says(&["inspect", "app"])).unwrap();
    assert_eq!(inspected[0]["Config"]["Healthcheck"]["Test"], *test);
}

/// A project of Docker Compose. Its containers and volumes are removed when this value is dropped.
struct Project {
    directory: TempDir,
    name: String,
}

impl Project {
    /// A project with this `compose.yaml`.
    fn new(file: &str) -> Project {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("compose.yaml"), file).unwrap();
        Project {
            directory,
            name: unique_name(),
        }
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let mut compose = Command::new("docker-compose");
        compose.args(["--project-name", &self.name]).args(arguments);
        compose.current_dir(&self.directory);
        compose
    }

    /// The id of a service's container. Returns `None` if the container has not been started,
    /// because Compose 2 creates containers long before it starts them.
    fn container(&self, service: &str) -> Option<String> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let service = format!("label=com.docker.compose.service={service}");
        let labels = [
            "ps", "--all", "--quiet", "--filter", &project, "--filter", &service,
        ];
        let states = ["--filter=status=running", "--filter=status=exited"];
        let id = docker_says(&[&labels[..], &states].concat());
        (!id.is_empty()).then_some(id)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self
            .compose(&["down", "--volumes", "--timeout", "0"])
            .output();
    }
}

#[test]
fn compose_waits_for_a_database_with_a_mounted_lntu() {
    if !have_docker() || !have_program("services", "docker-compose") {
        return;
    }
    let [file, _] = blocks("A health check for an image you don't build", "yaml");
    let Binaries { lntu, app, .. } = binaries();
    let db = "FROM scratch\nCOPY app /\nCMD [\"/app\", \"reserve\", \"5432\", \"serve\"]\n";
    let db = Image::of(db, &[app]);
    let client = Image::scratch_with("CMD [\"/app\", \"say\", \"started\"]");
    let file = file
        .replace("postgres:17", db.name())
        .replace("your/app", client.name());
    let project = Project::new(&file);
    fs::copy(lntu, project.directory.path().join("lntu")).unwrap();

    let up = Running::start(&mut project.compose(&["up", "--detach"]));
    let db = wait_for("the database", || project.container("db"));
    wait_for("the database's start", || {
        docker_says(&["logs", &db])
            .contains("serving")
            .then_some(())
    });
    let health = || docker_says(&["inspect", "--format", "{{.State.Health.Status}}", &db]);
    assert_eq!(health(), "starting");
    assert_eq!(project.container("app"), None);
    docker_says(&["kill", "--signal", "USR2", &db]);
    wait_within(SLOW, "a healthy database", || {
        (health() == "healthy").then_some(())
    });
    let up = up.finish();
    assert!(up.status.success(), "{up:?}");
    assert_eq!(health(), "healthy");
    let app = project.container("app").expect("the application");
    assert_eq!(docker_says(&["wait", &app]), "0");
    assert_eq!(docker_says(&["logs", &app]), "started");
}

#[test]
fn compose_runs_a_watcher_with_an_images_entrypoint() {
    if !have_docker() || !have_program("services", "docker-compose") {
        return;
    }
    let [file] = blocks("Report ports as they open and close", "yaml");
    let Binaries { lntu, app, .. } = binaries();
    let db = "FROM scratch\nENV PATH=/bin\nCOPY app /bin/docker-entrypoint.sh\n";
    let db = Image::of(db, &[app]);
    let file = file
        .replace("postgres:17", db.name())
        .replace("[\"postgres\"]", "[\"listen\", \"5432\", \"serve\"]");
    let project = Project::new(&file);
    fs::copy(lntu, project.directory.path().join("lntu")).unwrap();
    let up = run(&mut project.compose(&["up", "--detach"]));
    assert!(up.status.success(), "{up:?}");
    let db = wait_for("the database", || project.container("db"));
    wait_for("the database's port", || {
        let logs = run(&mut docker(&["logs", &db]));
        logs.stderr.contains("\"tcp:*:5432\"").then_some(())
    });
}

#[test]
fn compose_lets_an_application_wait_for_a_database() {
    if !have_docker() || !have_program("services", "docker-compose") {
        return;
    }
    let [file, _] = blocks("Wait for a port", "yaml");
    let db = Image::scratch_with("CMD [\"/app\", \"reserve\", \"5432\", \"serve\"]");
    let app = Image::scratch_with("CMD [\"say\", \"started\"]");
    let file = file
        .replace("postgres:17", db.name())
        .replace("your/app", app.name());
    // Compose ignores the command of the image, because the service has an entrypoint. So add the
    // command here.
    let file = file.replace("\"/app\"]", "\"/app\", \"say\", \"started\"]");
    let project = Project::new(&file);
    let up = run(&mut project.compose(&["up", "--detach"]));
    assert!(up.status.success(), "{up:?}");
    let [db, app] =
        ["db", "app"].map(|service| wait_for("a container", || project.container(service)));
    assert_eq!(docker_says(&["logs", &app]), "");
    docker_says(&["kill", "--signal", "USR2", &db]);
    assert_eq!(docker_says(&["wait", &app]), "0");
    assert_eq!(docker_says(&["logs", &app]), "started");
}

#[test]
fn an_application_waits_for_its_sidecar() {
    if !have_docker() {
        return;
    }
    let [_, pod] = blocks("Wait for a port", "yaml");
    let command = pod.split_once("command: ").unwrap().1;
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let image = Image::scratch();
    let proxy = image.start_server(Port::Closed, "15001");
    let app = image.start(
        &[&proxy.network()],
        &[&command[..], &["say", "started"]].concat(),
    );
    assert_eq!(app.logs().stdout, "");
    proxy.opens_its_port();
    app.wait_for_line("started");
    assert_eq!(app.status(), 0);
}

#[test]
fn compose_checks_a_database_with_lntu_from_a_volume() {
    if !have_docker() || !have_program("services", "docker-compose") {
        return;
    }
    let [file, _] = examples("An image that you do not build");
    let db = "FROM scratch\nCOPY app /\nCMD [\"/app\", \"listen\", \"5432\", \"serve\"]\n";
    let db = Image::of(db, &[&binaries().app]);
    let lntu = released();
    let file = file
        .replace("postgres:17", db.name())
        .replace(RELEASED, lntu.name());
    let project = Project::new(&file);
    let up = run(&mut project.compose(&["up", "--detach"]));
    assert!(up.status.success(), "{up:?}");
    let db = wait_for("the database", || project.container("db"));
    wait_within(SLOW, "a healthy database", || {
        let health = docker_says(&["inspect", "--format", "{{.State.Health.Status}}", &db]);
        (health == "healthy").then_some(())
    });
}

#[test]
fn an_entrypoint_waits_before_the_application_starts() {
    if !have_docker() {
        return;
    }
    let [with_watcher] = blocks("Wait for a port", "dockerfile");
    let [_, alone, ..] = examples::<4>("In a Dockerfile");
    let server = Image::scratch().start_server(Port::Closed, "5432");
    let containers = [with_watcher, alone].map(|line| {
        let image = Image::scratch_with(line);
        let application = ["say", "started", "serve", "exit", "42"];
        let container = image.start(&[&server.network()], &application);
        assert!(container.is_running());
        assert_eq!(container.logs().stdout, "");
        (container, image)
    });
    server.opens_its_port();
    for (container, _image) in &containers {
        container.wait_for_line("started");
        container.stop();
        assert_eq!(container.status(), 42);
    }
    let log = containers[0].0.logs().stdout;
    assert!(log.contains("LISTEN") && log.contains(":5432"), "{log}");
}

/// The application keeps running if the watcher is killed. The command line of the watcher contains
/// that of the application.
#[test]
fn the_watcher_is_a_child_of_the_application() {
    if !have_docker() || !have_root() {
        return;
    }
    let [entrypoint] = blocks("Report ports as they open and close", "dockerfile");
    let image = Image::scratch_with(entrypoint);
    let app = ["reserve", "8080", "serve", "exit", "42"];
    for options in [&[][..], &["--init"]] {
        let container = image.start(options, &app);
        container.wait_for_line("serving");
        container.wait_for_line("\"ready\"");
        container.opens_its_port();
        container.wait_for_line("\"opened\"");
        let top = docker_says(&["top", container.name(), "-o", "pid,ppid,args"]);
        let processes = top
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let process = |program| processes.clone().find(|words| words[2] == program).unwrap();
        let (application, watcher) = (process("/app"), process("/lntu"));
        assert_eq!(watcher[1], application[0], "{top}");
        assert!(watcher.contains(&"/app"), "{top}");

        let stat = format!("/proc/{}/stat", watcher[0]);
        let pid = Pid::from_raw(watcher[0].parse().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        wait_for("a zombie", || {
            fs::read_to_string(&stat)
                .unwrap()
                .contains(") Z ")
                .then_some(())
        });
        container.stop();
        assert_eq!(container.status(), 42, "{options:?}");
    }
}

#[test]
fn the_dockerfile_lines_build_healthy_containers() {
    if !have_docker() || !have_program("services", "tini-static") {
        return;
    }
    let [checks, _, under_tini, as_ss] = examples("In a Dockerfile");
    let images = checks.lines().map(Image::scratch_with).collect::<Vec<_>>();
    let starts: [&[&str]; 2] = [
        &["/app", "listen", "8080", "serve"],
        &["/app", "bind", "53", "serve"],
    ];
    let containers = images
        .iter()
        .zip(starts)
        .map(|(image, app)| image.start(&[], app));
    let containers = containers.collect::<Vec<_>>();

    let directory = TempDir::new().unwrap();
    let tini = directory.path().join("tini");
    fs::copy("/usr/bin/tini-static", &tini).unwrap();
    let Binaries { lntu, app, .. } = binaries();
    let dockerfile = format!("FROM scratch\nCOPY tini lntu app /\n{under_tini}\n");
    let image = Image::of(&dockerfile, &[&tini, lntu, app]);
    let watched = image.start(&[], &["listen", "8080", "serve", "exit", "42"]);
    watched.wait_for_line("\"tcp:*:8080\"");
    watched.stop();
    assert_eq!(watched.status(), 42);

    let released = released();
    let copy = as_ss.replace("from=lntu", &format!("from={}", released.name()));
    let image = Image::of(&format!("FROM scratch\n{copy}\n"), &[]);
    let listed = image.run(&[&containers[0].network()], &["/usr/bin/ss", "-Hlnt"]);
    assert!(listed.lines()[0].contains("0.0.0.0:8080"), "{listed:?}");

    for container in &containers {
        wait_for_health(container, "healthy");
    }
}

#[test]
fn the_host_lists_a_container() {
    if !have_docker() {
        return;
    }
    let [in_manual, _] = examples("A container, from the host");
    let [recipes] = blocks("See what is listening", "sh");
    let server = Image::scratch().start_server(Port::Open, "8080");
    for line in [in_manual, recipes.lines().last().unwrap()] {
        let listed = run(&mut shell(&line.replace("CONTAINER", server.name())));
        let lines = listed.lines();
        assert!(lines.len() == 2 && lines[1].contains("*:8080"), "{lines:?}");
    }
}

#[test]
fn a_container_lists_the_host() {
    if !have_docker() {
        return;
    }
    let [_, recipe] = examples("A container, from the host");
    let listener = listen("127.0.0.1");
    let command = recipe.replace("lntu ", "/lntu ");
    let command = command.split(' ').collect::<Vec<_>>();
    let listed = Image::scratch().run(&["--volume=/proc:/host/proc:ro"], &command);
    let local = format!("127.0.0.1:{} ", port_of(&listener));
    assert!(listed.lines().join("\n").contains(&local), "{listed:?}");
}

/// The pod of the README, and a pod with the sidecar of the manual.
fn pods() -> [String; 2] {
    let [pod] = blocks("Kubernetes, ECS, Testcontainers", "yaml");
    let [containers] = examples("A sidecar in Kubernetes before version 1.29");
    let head = "apiVersion: v1\nkind: Pod\nmetadata: { name: app }\nspec:\n  ";
    [
        pod.to_string(),
        head.to_string() + &containers.replace('\n', "\n  "),
    ]
}

#[test]
fn a_container_lists_all_other_containers() {
    if !have_docker() {
        return;
    }
    let [listing] = blocks("See every container on a host", "sh");
    let image = released();
    let server = Image::scratch().start_server(Port::Open, "8080");
    let listed = run(&mut shell(&listing.replace(RELEASED, image.name())));
    let id = server.inspect("{{.Id}}");
    let from_server = |line: &&str| line.contains(":8080 ") && line.contains(&id);
    let lines = listed.stdout.lines().filter(from_server);
    assert_eq!(lines.count(), 1, "{listed:?}");
    // A message about setns would mean that lntu lacks the capabilities to enter other namespaces.
    assert!(!listed.stderr.contains("setns"), "{listed:?}");
}

/// The container has CAP_DAC_OVERRIDE, which Docker grants by default. So it does not need
/// CAP_DAC_READ_SEARCH.
#[test]
fn the_capabilities_suffice_to_name_all_holders() {
    if !have_docker() || !have_root() {
        return;
    }
    let [listing] = blocks("See every container on a host", "sh");
    let [daemon_set] = blocks("See every container on a host", "yaml");
    let words = listing.split_ascii_whitespace();
    let caps: Vec<&str> = words.filter(|word| word.starts_with("--cap-")).collect();
    let added = caps
        .iter()
        .filter_map(|word| word.strip_prefix("--cap-add="));
    let added = added.collect::<Vec<_>>().join(", ");
    assert!(daemon_set.contains(&format!("{{ drop: [ALL], add: [{added}] }}")));

    let server = Image::scratch().start(&["--user=1000"], &["/app", "listen", "8080", "serve"]);
    server.wait_for_line("serving");
    let pid = server.inspect("{{.State.Pid}}");
    let image = released();
    let needed = ["--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"];
    for caps in [&caps[..], &needed] {
        let unconfined = ["--pid=host", "--security-opt=apparmor=unconfined"];
        let options = [&unconfined, caps].concat();
        let watcher = image.start(&options, &["--json", "-A", "-p", "8080"]);
        watcher.wait_for_line(&format!(r#""processes":[{{"name":"app","pid":{pid},"#));
        let found = Privileges::of(watcher.inspect("{{.State.Pid}}").parse().unwrap());
        // `lntu wait` keeps all capabilities, so it shows those that Docker granted.
        let other = image.start(&options, &["wait", "1"]);
        let granted = Privileges::of(other.inspect("{{.State.Pid}}").parse().unwrap());
        assert_eq!(found, granted.reduced(), "{caps:?}");
    }
}

/// The program kubernetes-validate checks the manifests against the schemas of Kubernetes.
#[test]
fn kubernetes_schemas_accept_the_pods() {
    let program = "python/bin/kubernetes-validate";
    if !have_installed(program) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pod.yaml");
    let validate = |pod: &str| {
        fs::write(&file, pod).unwrap();
        run(Command::new(installed(program)).arg("--strict").arg(&file))
    };
    let [daemon_set] = blocks("See every container on a host", "yaml");
    let [_, with_volume] = examples("An image that you do not build");
    let [_, with_copy] = blocks("A health check for an image you don't build", "yaml");
    let [_, with_sidecar] = blocks("Wait for a port", "yaml");
    let others = [daemon_set, with_volume, with_copy, with_sidecar].map(str::to_string);
    for pod in pods().into_iter().chain(others) {
        let validated = validate(&pod);
        assert!(validated.status.success(), "{pod}\n{validated:?}");
        let mistyped = pod
            .replace("args:", "arg:")
            .replace("command:", "commands:");
        assert!(!validate(&mistyped).status.success());
    }
}

/// Podman 4.3 has neither startup probes nor native sidecars, so in this test the sidecar is a
/// second container. Podman runs an exec probe in a shell, so the image contains one.
#[test]
fn podman_runs_the_pods() {
    if !have_docker() {
        return;
    }
    let (Some(podman), Some(busybox)) = (Podman::find(), Image::busybox()) else {
        return;
    };
    let served = "CMD [\"/app\", \"listen\", \"8080\", \"serve\"]";
    let served = Image::of(&format!("FROM {}\n{served}\n", busybox.name()), &[]);
    let (ports, app) = (podman.load(&released()), podman.load(&served));
    for pod in pods() {
        let file = podman.0.path().join("pod.yaml");
        let pod = pod
            .replace("your/app", &app)
            .replace("your/lntu:0.2.0", &ports);
        let pod = match pod.split_once("\n  containers:") {
            Some((init, rest)) if init.contains("initContainers") => {
                let init = init.replace("initContainers", "containers");
                init.replace(", restartPolicy: Always", "") + rest
            }
            _ => pod,
        };
        fs::write(&file, &pod).unwrap();
        podman.says(&["kube", "play", "--network=none", file.to_str().unwrap()]);
        wait_for("the ports of the pod", || {
            let lines = podman.says(&["logs", "app-ports"]);
            lines.contains("\"tcp:*:8080\"").then_some(())
        });
        if pod.contains("livenessProbe") {
            podman.says(&["healthcheck", "run", "app-app"]);
            let inspected = podman.says(&["inspect", "app-app"]);
            let inspected: Value = serde_json::from_str(&inspected).unwrap();
            let test = &inspected[0]["Config"]["Healthcheck"]["Test"];
            assert_eq!(test[0], "CMD-SHELL", "{test}");
        }
        podman.remove_all();
    }
}

/// Podman 4.3 has no Quadlet, so this test runs `podman run` with `--sdnotify=container`, which is
/// the meaning of `Notify=true` in a Quadlet file.
#[test]
fn podman_forwards_the_ready_notification() {
    if !have_docker() {
        return;
    }
    let Some(podman) = Podman::find() else {
        return;
    };
    let [_, in_manual] = examples("A service that is active once it listens");
    let [_, quadlet] = blocks("systemd and Quadlet", "ini");
    assert!(quadlet.starts_with(in_manual), "{in_manual}");
    let exec = quadlet.lines().find_map(|line| line.strip_prefix("Exec="));
    assert!(quadlet.contains("\nNotify=true\n"));
    let image = podman.load(&Image::scratch());
    let path = podman.0.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut run = podman.command(&["run", "--network=none", "--sdnotify=container", &image]);
    run.args(exec.unwrap().split(' '));
    run.args(["listen", "8080", "serve"]);
    let _container = Running::start(run.env("NOTIFY_SOCKET", &path));
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut buffer = [0; 4096];
    wait_for("READY=1", || {
        let length = manager.recv(&mut buffer).unwrap();
        buffer[..length].starts_with(b"READY=1").then_some(())
    });
}

/// A container in which systemd is process 1 and runs the service `server`. The container has
/// cgroups of its own, and uses the libraries of the host.
struct Systemd {
    container: Container,
    _files: TempDir,
}

impl Systemd {
    /// Starts a container with this unit, and this script as `/usr/local/bin/server`.
    fn start(service: &str, script: &str) -> Systemd {
        let files = TempDir::new().unwrap();
        let [unit, server] = ["server.service", "server"].map(|name| files.path().join(name));
        fs::write(&unit, service).unwrap();
        fs::write(&server, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
        let mount = |from: &Path, to: &str| format!("--volume={}:{to}:ro", from.display());
        let mut options = ["/run", "/tmp", "/etc", "/sys/fs/cgroup"]
            .map(|path| format!("--tmpfs={path}"))
            .to_vec();
        for path in ["/usr/lib", "/lib", "/lib64", "/bin/sh", "/bin/systemctl"] {
            options.push(mount(Path::new(path), path));
        }
        options.push(mount(&binaries().lntu, "/usr/bin/lntu"));
        options.push(mount(&server, "/usr/local/bin/server"));
        options.push(mount(&unit, "/etc/systemd/system/server.service"));
        let mounts = "--cap-add=SYS_ADMIN --cgroupns=private \
                      --security-opt=seccomp=unconfined --security-opt=apparmor=unconfined";
        options.extend(mounts.split(' ').map(str::to_string));
        let options = options.iter().map(String::as_str).collect::<Vec<_>>();
        let container = Image::scratch().start(
            &options,
            &["/usr/lib/systemd/systemd", "--unit=server.service"],
        );
        Systemd {
            container,
            _files: files,
        }
    }

    fn exec(&self, arguments: &[&str]) -> Finished {
        run(&mut docker(
            &[&["exec", self.container.name()], arguments].concat(),
        ))
    }

    fn systemctl(&self, arguments: &[&str]) -> Finished {
        self.exec(&[&["/bin/systemctl"], arguments].concat())
    }

    /// Waits until the service is in these states.
    fn wait_for_states(&self, [active, sub]: [&str; 2]) {
        let expected = format!("ActiveState={active}\nSubState={sub}\n");
        wait_for(&expected, || {
            let properties = ["show", "--property=ActiveState", "--property=SubState"];
            let shown = self
                .systemctl(&[&properties[..], &["server"]].concat())
                .stdout;
            (shown == expected).then_some(())
        });
    }

    /// Waits until [`SERVER`] has started and waits for the signal after which it listens.
    fn wait_for_server(&self) {
        wait_for("the server", || {
            let read = "read -r line </run/output && echo \"$line\"";
            let output = self.exec(&["/bin/sh", "-c", read]);
            (output.stdout == "serving\n").then_some(())
        });
    }

    fn kill(&self, signal: &str) {
        let kill = ["kill", "--kill-who=main", "--signal", signal, "server"];
        assert!(self.systemctl(&kill).status.success());
    }
}

/// A script that starts a server, which listens only after it has received SIGUSR2.
const SERVER: &str = "exec /app reserve 8080 serve >/run/output";

/// If the server exits before it listens, the service fails instead.
#[test]
fn a_systemd_service_is_active_once_it_listens() {
    if !have_docker() || !have_program("services", "systemd-analyze") {
        return;
    }
    let [service] = examples("A systemd service");
    for (signal, states, status) in [
        ("USR2", ["active", "running"], "status=0"),
        ("KILL", ["failed", "failed"], "status=3"),
    ] {
        let systemd = Systemd::start(service, SERVER);
        systemd.wait_for_states(["activating", "start-post"]);
        systemd.wait_for_server();
        systemd.kill(signal);
        systemd.wait_for_states(states);
        let post = systemd.systemctl(&["show", "--property=ExecStartPost", "server"]);
        assert!(post.stdout.contains(status), "{post:?}");
    }
}

#[test]
fn a_service_of_type_notify_is_active_once_it_listens() {
    if !have_docker() || !have_program("services", "systemd-analyze") {
        return;
    }
    let [in_manual, _] = examples("A service that is active once it listens");
    let [service, _] = blocks("systemd and Quadlet", "ini");
    assert_eq!(service, in_manual);
    let systemd = Systemd::start(service, SERVER);
    systemd.wait_for_server();
    systemd.wait_for_states(["activating", "start"]);
    systemd.kill("USR2");
    systemd.wait_for_states(["active", "running"]);
    systemd.kill("KILL");
    systemd.wait_for_states(["failed", "failed"]);
}
