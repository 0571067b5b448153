//! Register, 4.3: an object that its client brings, kept at an edge.

use cipher::certificate::Certificate as X509;
use keys::edge::NewObject;
use keys::id::Layer;
use keys::policy::Action;
use keys::row::{Algorithm, ObjectType};
use secret::Bytes;

use crate::attribute::{Attribute, AttributeValue};
use crate::brought::Brought;
use crate::certificate;
use crate::context::Context;
use crate::enums::CertificateType;
use crate::failure::Failure;
use crate::key_block::{Certificate, ManagedObject, PlainKeyValue};
use crate::object::TemplateAttribute;
use crate::payload::{RegisterRequest, RegisterResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::template::Registered;
use crate::templates;
use crate::ttlv::Writer;
use crate::unwrapping::{Opened, enclosed, opened};

pub(super) async fn run(context: &mut Context<'_>, request: RegisterRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::Register, Some(Layer::L4))?;
    context.vault.must_keep()?;
    if request.object.object_type() != request.object_type {
        return Err(Failure::field("Object Type: the object that is given is of another type"));
    }
    if let ManagedObject::Template(template) = &request.object {
        let attributes = templates::registered(&request.template_attribute, template)?;
        let (object_type, material) = (ObjectType::TEMPLATE, Some(Bytes::init_with(0, |_| ())?));
        return keep(context, NewObject { object_type, algorithm: Algorithm::NONE, bits: 0, attributes, material }, out).await;
    }
    let named = templates::named(context, Some(&request.template_attribute)).await?;
    let now = context.vault.now();
    let read = |plain: Option<&PlainKeyValue<'_>>| {
        let brought = Brought::read(&request.object, plain)?;
        let TemplateAttribute { names, attributes } = &request.template_attribute;
        let attributes = attributes.iter().cloned().chain(enclosed(plain, attributes)).collect();
        let template = templates::resolved(&TemplateAttribute { names: names.clone(), attributes }, &named);
        let template = match &request.object {
            ManagedObject::Certificate(certificate) => without_certificates_own(template, certificate)?,
            _ => template,
        };
        let Registered { algorithm, bits, curve, attributes } = Registered::read(&template, now)?;
        let (algorithm, bits) = brought.agreed(&request.object, algorithm, bits, curve)?;
        Ok((brought, attributes, algorithm, bits))
    };
    let Opened { read: (brought, mut attributes, algorithm, bits), came } = opened(context, &request.object, read).await?;
    attributes.others.extend(brought.kept);
    came.mark(&mut attributes);
    let object_type = ObjectType(request.object_type.number());
    keep(context, NewObject { object_type, algorithm, bits, attributes, material: Some(brought.material) }, out).await
}

async fn keep(context: &mut Context<'_>, new: NewObject, out: &mut Writer<'_>) -> Result<(), Failure> {
    let made = context.vault.create_object(context.unit, &context.grants, new).await?;
    context.is_about(&made.header);
    *context.placeholder = Some(made.header.id);
    let response = RegisterResponse { unique_identifier: &made.header.id.to_string(), template_attribute: None };
    response.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// Table 171 wants of a client what the certificate says itself: taken if it is that, and not kept twice.
fn without_certificates_own<'a>(template: TemplateAttribute<'a>, certificate: &Certificate<'_>) -> Result<TemplateAttribute<'a>, Failure> {
    let read = X509::read(certificate.certificate_value.0).map_err(|error| Failure::field(format!("Certificate Value: {error}")))?;
    let length = i32::try_from(certificate.certificate_value.0.len()).ok();
    let TemplateAttribute { names, attributes } = template;
    let mut others: Vec<Attribute<'a>> = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        let is_so = match &attribute.value {
            AttributeValue::CertificateType(kind) => *kind == CertificateType::X509,
            AttributeValue::CertificateLength(bytes) => Some(*bytes) == length,
            AttributeValue::DigitalSignatureAlgorithm(algorithm) => certificate::signed_by(&read) == Some(*algorithm),
            _ => {
                others.push(attribute);
                continue;
            }
        };
        if !is_so {
            return Err(Failure::field(format!("{}: the certificate says otherwise", attribute.value.name())));
        }
    }
    Ok(TemplateAttribute { names, attributes: others })
}
