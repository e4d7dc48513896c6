//! The parameters of an operation, which the runtime gives in the environment.

use crate::failure::Failure;

/// As given; what an operation needs of it, it asks for.
#[derive(Debug, Default)]
pub struct Parameters {
    pub command: String,
    pub netns: String,
    arguments: String,
}

/// A pod, as kubelet's runtimes name it in CNI_ARGS. `uid` is empty with runtimes that do not say it.
#[derive(Debug, PartialEq)]
pub struct PodName {
    pub name: String,
    pub namespace: String,
    pub uid: String,
}

impl Parameters {
    pub fn from(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name| variable(name).unwrap_or_default();
        Self {
            command: read("CNI_COMMAND"),
            netns: read("CNI_NETNS"),
            arguments: read("CNI_ARGS"),
        }
    }

    /// None for a container that is no pod of Kubernetes.
    pub fn pod(&self) -> Result<Option<PodName>, Failure> {
        let (mut name, mut namespace, mut uid) = (String::new(), String::new(), String::new());
        for argument in self.arguments.split(';').filter(|each| !each.is_empty()) {
            let Some((key, value)) = argument.split_once('=') else {
                return Err(Failure::Parameter(format!(
                    "CNI_ARGS: {argument:?} is not of the form KEY=VALUE"
                )));
            };
            match key {
                "K8S_POD_NAME" => name = value.to_owned(),
                "K8S_POD_NAMESPACE" => namespace = value.to_owned(),
                "K8S_POD_UID" => uid = value.to_owned(),
                _ => {}
            }
        }
        match (name.is_empty(), namespace.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(PodName { name, namespace, uid })),
            _ => Err(Failure::Parameter(
                "CNI_ARGS: K8S_POD_NAME and K8S_POD_NAMESPACE belong together, and one is missing".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(arguments: &str) -> Parameters {
        Parameters {
            arguments: arguments.to_owned(),
            ..Parameters::default()
        }
    }

    #[test]
    fn a_pod_is_named_among_other_arguments() {
        let found = with("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u-1").pod();
        let web = PodName {
            name: "web-1".to_owned(),
            namespace: "shop".to_owned(),
            uid: "u-1".to_owned(),
        };
        assert_eq!(found, Ok(Some(web)));
    }

    #[test]
    fn a_container_without_kubernetes_arguments_is_no_pod() {
        assert_eq!(with("").pod(), Ok(None));
        assert_eq!(with("IgnoreUnknown=true;").pod(), Ok(None));
    }

    #[test]
    fn half_a_name_is_refused() {
        for arguments in ["K8S_POD_NAME=web-1", "K8S_POD_NAMESPACE=shop", "K8S_POD_NAME"] {
            assert!(
                matches!(with(arguments).pod(), Err(Failure::Parameter(_))),
                "{arguments}"
            );
        }
    }
}
