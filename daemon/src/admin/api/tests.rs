use super::*;

#[test]
fn each_path_has_its_method_and_least_role() {
    let rows = [
        ("/v1/status", Method::GET, Role::Viewer),
        ("/metrics", Method::GET, Role::Monitor),
        ("/healthz", Method::GET, Role::Monitor),
        ("/readyz", Method::GET, Role::Monitor),
        ("/v1/reload", Method::POST, Role::Operator),
        ("/v1/reload?force=api&local&force=admin", Method::POST, Role::Operator),
        ("/v1/reload?give-up-addresses&local", Method::POST, Role::Operator),
        ("/v1/reload?dry-run", Method::POST, Role::Operator),
        ("/v1/reload?dry-run&local&force=api", Method::POST, Role::Operator),
        ("/v1/handover/web", Method::POST, Role::Operator),
        ("/v1/handover/2001:db8::100", Method::POST, Role::Operator),
        ("/v1/handover/api?force=api", Method::POST, Role::Operator),
        ("/v1/handover/api?to=lb-2&force=api", Method::POST, Role::Operator),
    ];
    for (path, method, least) in rows {
        let route = Route::find(path).expect(path);
        assert_eq!((route.method(), route.least()), (method, least), "{path}");
    }
}

#[test]
fn other_paths_are_not_there() {
    for path in [
        "",
        "/",
        "/v1",
        "/v1/status/",
        "/v1/handover/",
        "/v1/handover/a/b",
        "/v1/handover/a?",
        "/v1/handover/a?force",
        "/v1/handover/a?force=",
        "/v1/handover/a?to=",
        "/v1/handover/a?to=b&all=1",
        "/metrics?x",
        "/v1/reload?all",
        "/v1/reload?local&dry-run",
        "/v1/reload?dry-run&",
        "/v1/reload?force=",
    ] {
        assert_eq!(Route::find(path), None, "{path}");
    }
}
